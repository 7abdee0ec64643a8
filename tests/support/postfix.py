"""A Postfix of its own in a temporary folder: a peer to send mail with, to send mail to, and to measure against.

``Postfix(relaying_to(host, port))`` passes all mail on; ``Postfix(receiving("remote.example"))`` takes mail for domains into a Maildir.

Nothing of the machine's own Postfix is touched: configuration, queue, data and log are all below one folder, and
``master`` runs in the foreground as our child, so it dies with us. Needs root, since Postfix gives up rights by
changing users.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from .certificates import Certificate
from .mailboxes import Mailboxes
from .needs import program
from .processes import end, spawn
from .waiting import wait_until

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/log/maillog
maillog_file_prefixes = {folder}
myhostname = peer.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtputf8_enable = yes
# The limits on clients are for strangers; here one client is all there is.
default_process_limit = 250
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
message_size_limit = 104857600
{more}
"""

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
virtual unix - n n - - virtual
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


RECEIVING = """\
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {{folder}}/mail
virtual_mailbox_maps = static:all/
virtual_mailbox_limit = 0
virtual_minimum_uid = 1
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_recipient_restrictions = check_recipient_access inline:{{{{ unknown@ = 550 5.1.1 no such user }}, {{ busy@ = 450 4.2.0 try again }}}}
"""


def relaying_to(host: str, port: int) -> str:
    """Lines for main.cf that pass all mail on to one place, and try again soon when that fails."""
    return f"relayhost = [{host}]:{port}\nminimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\n"


def receiving(*domains: str, certificate: Certificate | None = None) -> str:
    """Lines for main.cf that take all mail for domains into the Maildir ``mail/all``, with STARTTLS when there is a certificate.

    The local parts ``unknown`` and ``busy`` are refused with 550 and 450.
    """
    text = RECEIVING.format(domains=" ".join(domains))
    if certificate is not None:
        text += f"smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {certificate.certificate}\nsmtpd_tls_key_file = {certificate.key}\n"
    return text


class Postfix:
    """One instance; a context manager.

    Args:
        more: lines for main.cf, e.g. ``relayhost = [127.0.0.1]:2525``; ``{folder}`` in it is replaced by its folder.
        parent: where its folder is made; must be open to the user postfix.
    """

    def __init__(self, more: str = "", parent: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postfix-", dir=parent))
        self.folder.chmod(0o755)
        self.port = _free_port()
        self._daemons = Path(_postconf("daemon_directory"))
        for name in ("queue", "data", "log", "mail"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        shutil.chown(self.folder / "mail", "nobody", "nogroup")
        self.mailboxes = Mailboxes(self.folder / "mail", unix_lines=True)
        main = MAIN.format(folder=self.folder, daemons=self._daemons, more=more.replace("{folder}", str(self.folder)))
        (self.folder / "main.cf").write_text(main)
        (self.folder / "master.cf").write_text(MASTER.format(port=self.port))

    def __enter__(self) -> Postfix:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        environment = {**os.environ, "MAIL_CONFIG": str(self.folder)}
        check = [program("postfix") or "", "-c", str(self.folder), "check"]
        subprocess.run(check, check=True, env=environment, capture_output=True, timeout=30)
        master = [str(self._daemons / "master"), "-c", str(self.folder), "-d"]
        with (self.folder / "master.log").open("wb") as log:
            self.process = spawn(master, stderr=log, stdout=log, env=environment)
        wait_until(self._accepts, "Postfix accepts connections", 15)

    def _accepts(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"Postfix ended: {(self.folder / 'master.log').read_text()}\n{self.log()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "process"):
            end(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens for SMTP."""
        return "127.0.0.1", self.port

    def sendmail(self, sender: str, recipients: list[str], content: bytes) -> None:
        """Injects a message as local programs do."""
        command = [program("sendmail") or "", "-C", str(self.folder), "-i", "-f", sender, *recipients]
        subprocess.run(command, input=content, check=True, timeout=30, capture_output=True)

    def log(self) -> str:
        """Its mail log."""
        path = self.folder / "log" / "maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    def queued(self, *queues: str) -> int:
        """How many messages its queues hold."""
        names = queues or ("maildrop", "incoming", "active", "deferred", "hold")
        return sum(len(files) for name in names for _, _, files in os.walk(self.folder / "queue" / name))


def _free_port() -> int:
    """A port that was free just now; Postfix cannot be asked to take any."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _postconf(name: str) -> str:
    command = [program("postconf") or "postconf", "-d", "-h", name]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
