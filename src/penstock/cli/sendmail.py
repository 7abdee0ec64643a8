"""``penstock sendmail``: the command line that programs have used to send mail since 1983, for the running server.

The message is handed in over the control socket, and the exit code is 0 only when it is on stable storage. It is read whole before, into a
temporary file when it is large, so that a program which writes slowly keeps no server waiting, and one that dies sends nothing.

Options that mean something else to each mail server, or nothing to this one, are taken and ignored, as Postfix does: scripts give them.
"""

from __future__ import annotations

import getopt
import os
import pwd
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..admin.protocol import PIECE, ControlError, Done, Submit
from ..config import Config, load
from ..errors import AddressError, ConfigError
from ..mail.address import Address
from ..mail.envelope import NOTIFY_VALUES
from .exits import EX_DATAERR, EX_NOUSER, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, Stop
from .handed_in import Draft, read_draft
from .options import DEFAULT_CONFIG
from .workers import AwayError, Workers

# Those of Postfix's sendmail(1); a colon stands behind what takes a value.
_OPTIONS = "A:B:C:F:GIL:N:O:R:UV:X:b:ce:f:h:imno:p:r:q:tvx"
_MODES = "give -bm (the default), -bs, -bp or -bi"
_BODIES: dict[str, Literal["7BIT", "8BITMIME"]] = {"7BIT": "7BIT", "8BITMIME": "8BITMIME"}
_RETURNS: dict[str, Literal["FULL", "HDRS"]] = {"full": "FULL", "hdrs": "HDRS"}
SENT, FAILED = 0, {"usage": EX_USAGE, "data": EX_DATAERR, "later": EX_TEMPFAIL, "denied": 77, "unknown": EX_NOUSER}


@dataclass(slots=True)
class Wanted:
    """What a command line asks for.

    Args:
        config: the configuration file.
        mode: "m" to send, "s" for SMTP on standard input, "p" to list the queue, "i" to look at the aliases, "q" to flush.
        sender: the envelope sender as given; None for the user.
        full_name: for a From field that is missing.
        from_header: take recipients from the header.
        dots: a line with a single dot ends the message.
        notify, ret, envid, body: DSN parameters and BODY, for the envelope.
        recipients: from the command line.
    """

    config: Path = DEFAULT_CONFIG
    mode: str = "m"
    sender: str | None = None
    full_name: str = ""
    from_header: bool = False
    dots: bool = True
    notify: list[str] = field(default_factory=list)
    ret: Literal["", "FULL", "HDRS"] = ""
    envid: str = ""
    body: Literal["", "7BIT", "8BITMIME"] = ""
    recipients: list[str] = field(default_factory=list)


def parse(arguments: Sequence[str]) -> Wanted:
    """The command line. Raises Stop."""
    # "-q" alone has no value, and a value that follows it is one of another option.
    words = ["-q0" if word == "-q" else word for word in arguments]
    try:
        options, rest = getopt.getopt(words, _OPTIONS)
    except getopt.GetoptError as error:
        raise Stop(EX_USAGE, f"sendmail: {error.msg}", "see: penstock sendmail --help") from None
    wanted = Wanted(recipients=rest, config=Path(os.environ.get("PENSTOCK_CONFIG", DEFAULT_CONFIG)))
    for name, value in options:
        action = _ACTIONS.get(name)
        if action is not None:
            action(wanted, value)
    if wanted.mode == "q" and (rest or wanted.from_header):
        wanted.mode = "m"  # -q with recipients: send now, which is what is done anyway
    return wanted


def _mode(wanted: Wanted, value: str) -> None:
    if value not in ("m", "s", "p", "i"):
        raise Stop(EX_USAGE, f"sendmail: there is no mode -b{value} here", _MODES if value not in "dD" else "run: penstock serve")
    wanted.mode = value


def _option(wanted: Wanted, value: str) -> None:
    if value == "i":
        wanted.dots = False


def _undotted(wanted: Wanted, _value: str) -> None:
    wanted.dots = False


def _header(wanted: Wanted, _value: str) -> None:
    wanted.from_header = True


def _sender(wanted: Wanted, value: str) -> None:
    wanted.sender = value


def _name(wanted: Wanted, value: str) -> None:
    wanted.full_name = value


def _queue(wanted: Wanted, value: str) -> None:
    if value == "0" and wanted.mode == "m":
        wanted.mode = "q"


def _envid(wanted: Wanted, value: str) -> None:
    # RFC 3461 §4.4: "up to 100 characters", printable.
    if len(value) > 100 or not value.isprintable() or not value.isascii():
        raise Stop(EX_USAGE, "sendmail: -V takes up to 100 printable ASCII characters")
    wanted.envid = value


def _notify(wanted: Wanted, value: str) -> None:
    words = [word.strip() for word in value.lower().split(",")]
    if not set(words) <= NOTIFY_VALUES or ("never" in words and len(words) > 1):
        raise Stop(EX_USAGE, f"sendmail: -N {value!r} is not what a sender can be notified of", "never, or some of failure,delay,success")
    wanted.notify = words


def _return(wanted: Wanted, value: str) -> None:
    if value.lower() not in _RETURNS:
        raise Stop(EX_USAGE, f"sendmail: -R {value!r} is not what can be returned", "full or hdrs")
    wanted.ret = _RETURNS[value.lower()]


def _body(wanted: Wanted, value: str) -> None:
    wanted.body = _BODIES.get(value.upper(), "")


def _config(wanted: Wanted, value: str) -> None:
    wanted.config = Path(value)


_ACTIONS: dict[str, Callable[[Wanted, str], None]] = {
    "-b": _mode, "-o": _option, "-i": _undotted, "-t": _header, "-f": _sender, "-r": _sender, "-F": _name, "-q": _queue, "-V": _envid,
    "-N": _notify, "-R": _return, "-B": _body, "-C": _config,
}  # fmt: skip


def sendmail(arguments: Sequence[str]) -> int:
    """Runs the command; the exit code. Raises PenstockError; Stop."""
    wanted = parse(arguments)
    if wanted.mode == "p":
        from .mailq import mailq

        return mailq(["-C", str(wanted.config)])
    if wanted.mode == "i":
        from .newaliases import newaliases

        return newaliases(["-C", str(wanted.config)])
    config = _load(wanted.config)
    if wanted.mode == "s":
        from .joined import join_listener

        return join_listener(config)
    if wanted.mode == "q":
        from .queue_changed import flush_queues

        flush_queues(wanted.config, "")
        return SENT
    return _send(config, wanted)


def _load(path: Path) -> Config:
    try:
        return load(path)
    except ConfigError as error:
        # A program that sends mail can do nothing about it, and should keep the message for later.
        raise Stop(EX_TEMPFAIL, f"sendmail: {error.where}: {error.what}", error.hint) from None


def _send(config: Config, wanted: Wanted) -> int:
    user = _user()
    domain = config.server.hostname
    sender = _address(wanted.sender if wanted.sender is not None else user[0], domain, null=True)
    if wanted.from_header and sys.stdin.isatty():
        raise Stop(EX_USAGE, "sendmail: -t reads a message from standard input", "see: penstock sendmail --help")
    with read_draft(sys.stdin.buffer, wanted.dots) as draft:
        found = [*wanted.recipients, *(draft.recipients() if wanted.from_header else [])]
        recipients = [_address(text, domain) for text in found]
        if not recipients:
            raise Stop(EX_DATAERR, "sendmail: there is no recipient", "name one, or give -t and a To field")
        draft.complete(sender or f"MAILER-DAEMON@{domain}", wanted.full_name or user[1], domain, drop_bcc=wanted.from_header)
        utf8 = not all(text.isascii() for text in (sender, *recipients)) or not draft.header.isascii()
        asked = Submit(
            sender=sender, recipients=recipients, notify=wanted.notify, ret=wanted.ret, envid=wanted.envid, body=wanted.body, smtputf8=utf8
        )
        return hand_in(config, asked, draft)


def hand_in(config: Config, asked: Submit, draft: Draft) -> int:
    """Gives a message to one of the workers. Raises Stop when none takes it now."""
    workers = Workers(config)
    paths = workers.paths()
    random.shuffle(paths)  # so that all have their share
    for path in paths:
        try:
            if any(isinstance(answer, Done) and answer.id for answer in workers.ask(path, asked, draft.pieces(PIECE))):
                return SENT
        except AwayError:
            continue
        except ControlError as error:
            raise Stop(FAILED.get(error.kind, EX_UNAVAILABLE), f"sendmail: {error.what}") from None
    raise Stop(
        EX_TEMPFAIL, "sendmail: the server is not running, and the message was not sent", "try again when it is; see: penstock status"
    )


def _address(text: str, domain: str, null: bool = False) -> str:
    """The address in full, the host's name behind one without a domain, as local programs write it. Raises Stop."""
    bare = text.strip()
    if null and bare in ("", "<>"):
        return ""
    if "@" not in bare:
        bare = f"{bare.removeprefix('<').removesuffix('>')}@{domain}"
    try:
        return str(Address.parse(bare))
    except AddressError as error:
        raise Stop(EX_DATAERR, f"sendmail: {error}") from None


def _user() -> tuple[str, str]:
    """Login name and full name of who runs the command."""
    try:
        found = pwd.getpwuid(os.getuid())
    except KeyError:
        return f"uid{os.getuid()}", ""
    return found.pw_name, found.pw_gecos.split(",")[0].replace("&", found.pw_name.capitalize())
