"""Exim and OpenSMTPD of a test's own: each takes mail for any domain into one Maildir, or relays all of it to one place.

Both bind a port that the test chose a moment before; nothing of the machine's own mail system is touched, see ``unpacked``.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from .mailboxes import Mailboxes
from .processes import spawn, stop
from .unpacked import Account, namespaced, unpacked, with_accounts
from .waiting import wait_until

EXIM = """\
primary_hostname = exim.example
exim_path = {program}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%s
pid_file_path =
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
host_lookup =
rfc1413_hosts =
tls_advertise_hosts =
dsn_advertise_hosts = *
smtp_accept_max = 200
smtp_accept_max_per_host = 200
smtp_accept_queue_per_connection = 0
queue_run_max = 5
remote_max_parallel = 10
keep_environment =
never_users =
acl_smtp_rcpt = recipients
acl_smtp_data = accept
prdr_enable = true
acl_smtp_data_prdr = each
begin acl
recipients:
  deny local_parts = unknown
    message = no such user
  defer local_parts = busy
    message = try again
  accept
each:
  deny local_parts = full
    message = mailbox full
  defer local_parts = later
    message = mailbox busy
  accept
begin routers
route:
{router}
begin transports
box:
  driver = appendfile
  directory = {folder}/mail
  maildir_format
  delivery_date_add
  envelope_to_add
  return_path_add
  user = nobody
  group = nogroup
next:
  driver = smtp
  port = {next_port}
  allow_localhost
begin retry
* * F,1h,1s
"""
EXIM_LOCAL = "  driver = accept\n  transport = box"
EXIM_RELAY = "  driver = manualroute\n  route_list = * {host}\n  self = send\n  transport = next"

OPENSMTPD = """\
queue ttl 1h
{table}
listen on 127.0.0.1 port {port} hostname opensmtpd.example
{action}
{rules}
"""
OPENSMTPD_LOCAL = 'action "all" maildir "{folder}/mail" virtual <all>'
OPENSMTPD_RELAY = 'action "all" relay host "smtp://{host}:{next_port}"'
OPENSMTPD_RULES = """\
match from any for any rcpt-to <none> reject
match from any for any action "all"
"""


class MailServer:
    """What the two have in common; a context manager.

    Args:
        relay_to: host and port that all mail is relayed to; None keeps it in Maildirs below ``mail``.
    """

    name = ""

    def __init__(self, relay_to: tuple[str, int] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.folder.chmod(0o755)
        self.mail = self.folder / "mail"
        self.mail.mkdir()
        shutil.chown(self.mail, "nobody", "nogroup")
        self.mailboxes = Mailboxes(self.mail, unix_lines=True)
        self.port = free_port()
        try:
            self._command = self._prepare(relay_to)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    def __enter__(self) -> Self:
        with (self.folder / "output").open("wb") as output:
            self.process = spawn(self._command, stdout=output, stderr=output)
        try:
            wait_until(self._accepts, f"{self.name} accepts connections", 15)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        stop(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _accepts(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended: {self.log()}")
        return greets(self.port)

    def log(self) -> str:
        """All that it wrote."""
        files = [self.folder / "output", *sorted((self.folder / "log").glob("*"))]
        return "\n".join(path.read_text(errors="replace") for path in files if path.is_file())

    def _prepare(self, relay_to: tuple[str, int] | None) -> list[str]:
        """Writes the configuration; the command that runs the server in the foreground."""
        raise NotImplementedError


class Exim(MailServer):
    """Debian's exim4-daemon-light. Local parts ``unknown`` and ``busy`` are refused with 550 and 451, at any domain.

    With PRDR ``full`` and ``later`` are, when the content is known.
    """

    name = "exim"

    def _prepare(self, relay_to: tuple[str, int] | None) -> list[str]:
        program = unpacked("exim4", "usr", "sbin", "exim4")
        host, next_port = relay_to or ("", 25)
        router = EXIM_RELAY.format(host=host) if relay_to else EXIM_LOCAL
        text = EXIM.format(program=program, folder=self.folder, port=self.port, router=router, next_port=next_port)
        state = self.folder / "lib"  # its default configuration file is in /var/lib/exim4, and only that one keeps root's rights
        (state / "exim4").mkdir(parents=True)
        (state / "exim4" / "config.autogenerated").write_text(text)
        account = Account("Debian-exim", 64801)
        for name in ("spool", "log"):
            (self.folder / name).mkdir()
            shutil.chown(self.folder / name, account.number, account.number)
        mounts = {**with_accounts(self.folder, [account]), state: "/var/lib"}
        # -bdf: a daemon in the foreground; -q1s: runs of the queue, so that what was deferred is tried again at once.
        return namespaced(mounts, str(program), "-bdf", "-q1s")


class OpenSmtpd(MailServer):
    """Debian's opensmtpd. ``unknown`` at remote.example and example.com is refused with 550."""

    name = "opensmtpd"

    def _prepare(self, relay_to: tuple[str, int] | None) -> list[str]:
        program = unpacked("opensmtpd", "usr", "sbin", "smtpd")
        host, next_port = relay_to or ("", 25)
        action = (OPENSMTPD_RELAY if relay_to else OPENSMTPD_LOCAL).format(folder=self.folder, host=host, next_port=next_port)
        table = 'table none { "unknown@remote.example", "unknown@example.com" }\ntable all { "@" = "nobody" }'
        text = OPENSMTPD.format(port=self.port, action=action, table=table, rules=OPENSMTPD_RULES)
        (self.folder / "smtpd.conf").write_text(text)
        root = unpacked("opensmtpd")
        home = "/var/lib/opensmtpd/empty"
        accounts = [Account("opensmtpd", 64802, home), Account("opensmtpq", 64803, home)]
        for name in ("spool", "run"):
            (self.folder / name).mkdir()
        (self.folder / "spool").chmod(0o711)
        mounts = {
            **with_accounts(self.folder, accounts),
            root / "var" / "lib": "/var/lib",
            root / "usr" / "libexec": "/usr/libexec",
            self.folder / "spool": "/var/spool",
            self.folder / "run": "/run",
        }
        return namespaced(mounts, str(program), "-d", "-f", str(self.folder / "smtpd.conf"))


def free_port() -> int:
    """A port that was free just now, for servers that cannot be asked to take any."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def greets(port: int, first: bytes = b"220") -> bool:
    """Whether a server there begins as expected."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as probe:
            return probe.recv(512).startswith(first)
    except OSError:
        return False
