"""A Dovecot of a test's own that takes mail by LMTP into Maildirs; nothing of the machine's Dovecot is touched.

Users are those it is told of. Others are refused with 550 at RCPT; one with a full mailbox gets 552 after the content, and one whose
mailbox cannot be made 451, so that a message for several has several ends.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .mailboxes import Mailboxes
from .mailservers import free_port, greets
from .needs import needs, needs_root, program
from .processes import spawn, stop
from .waiting import wait_until

NOBODY = 65534  # user and group; passwd-file wants numbers

CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = lmtp
listen = 127.0.0.1
ssl = no
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
first_valid_uid = 1
hostname = dovecot.example
mail_location = maildir:{folder}/mail/%u
mail_save_crlf = yes
lmtp_save_to_detail_mailbox = no
recipient_delimiter = +
mail_plugins = quota
plugin {{
  quota = count:User quota
  quota_vsizes = yes
}}
mailbox_list_index = yes
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
  unix_listener lmtp {{
    path = {folder}/lmtp.sock
    mode = 0666
  }}
}}
service auth {{
  unix_listener {folder}/auth.sock {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
}}
"""


class Dovecot:
    """One instance; a context manager.

    Args:
        users: user to kind: ``good``, ``full`` (its quota is used up) or ``broken`` (its mailbox cannot be made).
        password: of all of them.
    """

    def __init__(self, users: Mapping[str, str] | None = None, password: str = "secret") -> None:
        needs_root("Dovecot changes users")
        needs("dovecot")
        if not Path("/usr/lib/dovecot/lmtp").exists():
            needs("dovecot-lmtpd")
        self._password = password
        self.folder = Path(tempfile.mkdtemp(prefix="dovecot-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.mail = self.folder / "mail"
        self.mailboxes = Mailboxes(self.mail)
        self.mail.mkdir()
        shutil.chown(self.mail, "nobody", "nogroup")
        users = users or {"alice@example.com": "good", "bob@example.com": "good"}
        (self.folder / "users").write_text("".join(self._line(name, kind) for name, kind in users.items()))
        (self.folder / "dovecot.conf").write_text(CONFIG.format(folder=self.folder, port=self.port))

    def _line(self, name: str, kind: str) -> str:
        """A line of a passwd-file, with extra fields of the userdb at its end."""
        extra = {"good": "", "full": "userdb_quota_rule=*:bytes=1", "broken": "userdb_mail=maildir:/proc/nowhere"}[kind]
        return f"{name}:{self._password}:{NOBODY}:{NOBODY}::{self.folder}/home/{name}::{extra}\n"

    def __enter__(self) -> Dovecot:
        with (self.folder / "output").open("wb") as output:
            self.process = spawn([program("dovecot") or "", "-F", "-c", str(self.folder / "dovecot.conf")], stdout=output, stderr=output)
        try:
            wait_until(self._accepts, "Dovecot accepts connections", 15)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        stop(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _accepts(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"Dovecot ended: {self.log()}")
        return greets(self.port)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens for LMTP."""
        return "127.0.0.1", self.port

    @property
    def socket(self) -> Path:
        """Where it listens for LMTP on a Unix socket."""
        return self.folder / "lmtp.sock"

    @property
    def auth_socket(self) -> Path:
        """Where its auth server listens for mail servers."""
        return self.folder / "auth.sock"

    def log(self) -> str:
        """All that it wrote."""
        return "\n".join(path.read_text(errors="replace") for path in (self.folder / "output", self.folder / "log") if path.exists())

    def delivered_to(self, user: str) -> list[bytes]:
        """The messages in a user's mailbox, in no order."""
        box = self.mail / user
        return [path.read_bytes() for part in ("new", "cur") for path in (box / part).glob("*")]
