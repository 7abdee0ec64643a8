"""``penstock send``: hands one message to a server and shows what it said.

The client is the standard library's, step by step, since its one-step ``sendmail`` hides the replies that one wants to see.
"""

from __future__ import annotations

import re
import smtplib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import typer

from ..mail.address import Address
from .exits import EX_DATAERR, EX_NOUSER, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, Stop, complain
from .in_json import in_json
from .letter import Letter

_QUEUED = re.compile(r"queued as (\S+)")
_LOCAL, _PORT = ("127.0.0.1", "localhost", "::1"), 2525
_SLOW = "the server at {} did not answer within {:g} s"
Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Route:
    """Where to, and how."""

    host: str
    port: int
    helo: str
    timeout: float

    @classmethod
    def parse(cls, server: str, helo: str, timeout: float) -> Self:
        """From the options; the port is 2525 when none is given. Raises Stop."""
        found = re.fullmatch(r"(?:\[([^\]]+)\]|([^:]+))(?::([0-9]{1,5}))?", server)
        if not found or not 0 < int(found[3] or _PORT) < 65536:
            raise Stop(EX_USAGE, f"--server: {server!r} is not understood", "write HOST:PORT, such as 127.0.0.1:2525 or [::1]:25")
        if not helo.isprintable() or " " in helo or not helo:
            raise Stop(EX_USAGE, f"--helo: {helo!r} is no host name", "write a name such as client.example")
        return cls(found[1] or found[2], int(found[3] or _PORT), helo, timeout)

    @property
    def is_default(self) -> bool:
        """True where the server of the examples would be."""
        return self.host in _LOCAL and self.port == _PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Said:
    """One reply of the server."""

    code: int
    text: str

    @classmethod
    def of(cls, reply: tuple[int, bytes]) -> Self:
        """From what the standard library gives."""
        return cls(reply[0], reply[1].decode("utf-8", "replace").replace("\n", " "))

    @property
    def is_ok(self) -> bool:
        """True for 2xx and 3xx."""
        return 200 <= self.code < 400

    @property
    def exit_code(self) -> int:
        """What a refusal ends the command with: later, no such user (5.1.x, RFC 3463 §3.2), or not at all."""
        if self.code < 500:
            return EX_TEMPFAIL
        return EX_NOUSER if self.text.startswith("5.1.") else EX_UNAVAILABLE

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


@dataclass(slots=True)
class Result:
    """What came of it: the reply to each recipient, and to the message when any recipient was accepted."""

    recipients: list[tuple[Address, Said]] = field(default_factory=list)
    reply: Said | None = None

    @property
    def queue_id(self) -> str:
        """The id that the server gave the message, or ""."""
        found = _QUEUED.search(self.reply.text) if self.reply is not None and self.reply.is_ok else None
        return found[1] if found else ""


class Client(smtplib.SMTP):
    """The standard library's client, which lets one look on."""

    def __init__(self, show: Show, helo: str, timeout: float) -> None:
        self._show = show
        super().__init__(local_hostname=helo, timeout=timeout)

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Sends a command."""
        self._show(f"C: {cmd} {args}".rstrip())
        super().putcmd(cmd, args)

    def getreply(self) -> tuple[int, bytes]:
        """Reads a reply."""
        code, text = super().getreply()
        lines = text.decode("utf-8", "replace").split("\n")
        for number, line in enumerate(lines, 1):
            self._show(f"S: {code}{' ' if number == len(lines) else '-'}{line}")
        return code, text


def send(route: Route, letter: Letter, verbose: bool, as_json: bool) -> None:
    """Sends and reports; raises Stop for what did not work, and typer.Exit for a refusal."""
    show: Show = (lambda line: typer.echo(line, err=True)) if verbose else (lambda line: None)
    try:
        result = _converse(route, letter, show)
    except smtplib.SMTPServerDisconnected as error:
        if isinstance(error.__context__, TimeoutError):
            raise Stop(EX_UNAVAILABLE, _SLOW.format(route, route.timeout)) from None
        raise Stop(EX_TEMPFAIL, f"the server at {route} closed the connection", "see its log; with -v you see how far it came") from None
    except ConnectionRefusedError:
        hint = "start one with: make run" if route.is_default else "is the address right, and does the server run?"
        raise Stop(EX_UNAVAILABLE, f"no server answers at {route}", hint) from None
    except TimeoutError:
        raise Stop(EX_UNAVAILABLE, _SLOW.format(route, route.timeout)) from None
    except socket.gaierror as error:
        raise Stop(EX_UNAVAILABLE, f"the host name {route.host!r} cannot be found: {error.strerror}") from None
    except OSError as error:
        raise Stop(EX_UNAVAILABLE, f"the server at {route} cannot be reached: {error.strerror or error}") from None
    raise typer.Exit(_report(route, letter, result, as_json))


def _converse(route: Route, letter: Letter, show: Show) -> Result:
    """The whole dialogue. Raises OSError; Stop where the server refuses before any recipient."""
    client = Client(show, route.helo, route.timeout)
    try:
        _expect("the connection", client.connect(route.host, route.port))
        greeting = client.ehlo()
        if not Said.of(greeting).is_ok:
            _expect("HELO", client.helo())
        _expect("the sender", client.docmd("MAIL", f"FROM:<{letter.sender}>{_parameters(client, letter)}"))
        result = Result([(r, Said.of(client.docmd("RCPT", f"TO:<{r}>"))) for r in letter.recipients])
        if any(said.is_ok for _, said in result.recipients):
            result.reply = _content(client, letter, show)
        client.quit()
    finally:
        client.close()
    return result


def _expect(what: str, reply: tuple[int, bytes]) -> None:
    said = Said.of(reply)
    if not said.is_ok:
        raise Stop(said.exit_code, f"the server refused {what}: {said}", "the server's log says which binding did it")


def _parameters(client: Client, letter: Letter) -> str:
    """What MAIL must say beside the sender."""
    parameters = " BODY=8BITMIME" if client.has_extn("8bitmime") and not letter.content.isascii() else ""
    if all(address.is_ascii for address in (letter.sender, *letter.recipients)):
        return parameters
    if not client.has_extn("smtputf8"):
        raise Stop(EX_DATAERR, "the server does not take addresses beyond ASCII", "it does not offer SMTPUTF8")
    client.command_encoding = "utf-8"
    return f"{parameters} SMTPUTF8"


def _content(client: Client, letter: Letter, show: Show) -> Said:
    said = Said.of(client.docmd("DATA"))
    if said.code != 354:
        return said
    show(f"C: ({len(letter.content)} octets of message, then a dot)")
    # RFC 5321 §4.5.2: a line that begins with a period gets a second one.
    client.send(re.sub(rb"(?m)^\.", b"..", letter.content) + b".\r\n")
    return Said.of(client.getreply())


def _report(route: Route, letter: Letter, result: Result, as_json: bool) -> int:
    """Shows what came of it; the exit code."""
    refused = [(address, said) for address, said in result.recipients if not said.is_ok]
    codes = [said.exit_code for _, said in refused]
    if as_json:
        typer.echo(in_json(_as_json(route, letter, result)))
    elif result.reply is not None and result.reply.is_ok:
        typer.echo(str(result.reply))
    for address, said in refused:
        complain(said.exit_code, f"the server refused {address}: {said}")
    if result.reply is not None and not result.reply.is_ok:
        codes.append(result.reply.exit_code)
        complain(result.reply.exit_code, f"the server refused the message: {result.reply}")
    if codes:
        typer.echo("  the server's log says which binding did it", err=True)
    return codes[0] if codes else 0


def _as_json(route: Route, letter: Letter, result: Result) -> dict[str, object]:
    reply = result.reply
    return {
        "server": str(route),
        "from": str(letter.sender),
        "recipients": [{"address": str(a), "code": said.code, "text": said.text} for a, said in result.recipients],
        "reply": {"code": reply.code, "text": reply.text} if reply is not None else None,
        "queue_id": result.queue_id,
    }
