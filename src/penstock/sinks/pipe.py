"""Delivery to a program: the message on its standard input, the envelope in its arguments and environment, its exit code the answer.

No shell is between, so nothing in an address can be taken for a command. The codes are those of sysexits.h, which programs for mail have
used since Sendmail. One that is killed, is late, cannot be started, or ends with a code that means nothing (a script's 1, after an error
nobody thought of) puts the mail off: it has not said that it does not want it.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from penstock import Address, Message, Sink, on
from penstock.events import LocalDelivery
from penstock.verdicts import Bounce, Defer, Delivered

from .known import without_detail
from .routes import own_delivery
from .running import Program, run
from .said import fit, split_status

_FIELDS = ("local", "domain", "detail", "sender", "recipient")
_PLACE = re.compile(r"\{(\w*)\}")
_OPTION_OF_A_STRANGER = re.compile(r"--?\{")
_CHUNK = 64 * 1024
_SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh", "csh", "tcsh", "fish", "busybox"})
# "-c", alone or among other letters, in front of a shell's script.
_SCRIPT = re.compile(r"-[a-z]*c[a-z]*")
_PATH = "/usr/local/bin:/usr/bin:/bin"
# sysexits.h: the status of RFC 3463, and what it means; the rest of 64 to 78 puts off.
_BOUNCES = {
    64: ("5.3.5", "command line usage error"),
    65: ("5.6.0", "data format error"),
    66: ("5.3.0", "cannot open input"),
    67: ("5.1.1", "user unknown"),
    68: ("5.1.2", "host name unknown"),
    69: ("5.3.0", "service unavailable"),
    70: ("5.3.0", "internal software error"),
    72: ("5.3.0", "critical OS file missing"),
    73: ("5.2.0", "can't create user output file"),
    76: ("5.5.0", "remote error in protocol"),
    77: ("5.7.0", "permission denied"),
    78: ("5.3.5", "configuration error"),
}
_LOOP = Bounce("5.4.6", "The message was delivered to this address before: mail loop")
_OPTION = Bounce("5.1.3", "An address that begins with '-' cannot be given to this command")
_LATE = Defer(451, "4.3.0", "The command did not end in time")
_NOT_STARTED = Defer(451, "4.3.5", "The command cannot be started")


@dataclass(frozen=True, slots=True)
class PipeSettings:
    """Which program, and how it is run.

    Args:
        command: the program and its arguments, split as a shell would, with ``{local}``, ``{domain}``, ``{detail}``, ``{sender}`` and
            ``{recipient}``; "" to serve only recipients whose route is ``pipe:COMMAND``, as aliases make them.
        delimiter: what separates a name from the detail; "" for nothing.
        user: the user that it runs as, with its groups; "" for the server's, which is all that a server without root's rights can do.
        umask: for the files that it makes.
        directory: where it runs.
        environment: variables beside those that describe the message; nothing of the server's own environment is passed on.
        seconds: how long it may take; then it is killed, and all that it started in its process group.
    """

    command: str = ""
    delimiter: str = "+"
    user: str = ""
    umask: int = 0o077
    directory: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    seconds: float = 120.0


class Pipe(Sink[PipeSettings]):
    """Delivers by running a program for each recipient.

    The message comes with ``Return-Path`` and ``Delivered-To`` on top (RFC 5321 §4.4). What the program prints is in the report to the
    sender when it refuses, shortened; it may begin with a status code such as ``5.7.1``.

    Raises: ValueError for a command that cannot be split or names other fields, or an unknown user.
    """

    def __init__(self, settings: PipeSettings) -> None:
        super().__init__(settings)
        if settings.command:
            words_of(settings.command)
        self._user = _user(settings.user) if settings.user else {}

    @on(LocalDelivery)
    def deliver(self, event: LocalDelivery) -> Delivered | Defer | Bounce | None:
        """Runs the program."""
        kind, _, command = own_delivery(event).partition(":")
        if (kind and kind != "pipe") or not (command := command.strip() if kind else self.settings.command):
            return None
        to = delivered_to(event)
        if event.message.header.has("Delivered-To", to):
            return _LOOP
        values = self._values(event, to)
        try:
            arguments = [filled(word, values) for word in words_of(command)]
        except LooksLikeOptionError:
            return _OPTION
        except ValueError as error:
            self.log.error("command cannot be run", message=event.message.id, command=command, error=str(error))
            return _NOT_STARTED
        return self._run(event.message, arguments, values, to)

    def _run(self, message: Message, arguments: list[str], values: dict[str, str], to: str) -> Delivered | Defer | Bounce:
        top = f"Return-Path: <{message.sender}>\r\nDelivered-To: {to}\r\n".encode()
        settings = self.settings
        environment = self._environment(message, values)
        program = Program(arguments, environment, settings.directory, settings.umask, self._user, settings.seconds)
        try:
            code, output = run(program, _pieces(top, message.open()))
        except TimeoutError:
            self.log.error("command did not end in time and was killed", message=message.id, command=arguments[0], seconds=settings.seconds)
            return _LATE
        except (OSError, ValueError) as error:
            self.log.error("command cannot be run", message=message.id, command=arguments[0], error=str(error))
            return _NOT_STARTED
        return self._verdict(message, arguments[0], code, output)

    def _verdict(self, message: Message, command: str, code: int, output: bytes) -> Delivered | Defer | Bounce:
        if code == 0:
            return Delivered(f"pipe:{command}")
        said = fit(output)
        if code in _BOUNCES:
            otherwise, meaning = _BOUNCES[code]
            status, text = split_status(said, "5", otherwise)
            return Bounce(status, text or meaning)
        status, text = split_status(said, "4", "4.3.0")
        if code not in (71, 74, 75):
            self.log.warning("command failed", message=message.id, command=command, code=code, said=said)
            text = ""
        return Defer(451, status, text or "The command failed temporarily")

    def _values(self, event: LocalDelivery, to: str) -> dict[str, str]:
        address = Address.parse(to)
        local, domain = address.local, address.domain
        name = without_detail(local, self.settings.delimiter)
        detail = local[len(name) + 1 :] if name != local else ""
        return {"local": name, "domain": domain, "detail": detail, "sender": str(event.message.sender), "recipient": to}

    def _environment(self, message: Message, values: dict[str, str]) -> dict[str, str]:
        return {
            "PATH": _PATH,
            "LANG": "C.UTF-8",
            "SENDER": values["sender"],
            "RECIPIENT": values["recipient"],
            "LOCAL": values["local"],
            "DOMAIN": values["domain"],
            "EXTENSION": values["detail"],
            "MESSAGE_ID": message.id,
            "SIZE": str(message.size),
            **self.settings.environment,
        }


class LooksLikeOptionError(Exception):
    """What a stranger wrote would be taken for an option of the command."""


def delivered_to(event: LocalDelivery) -> str:
    """The address that a delivery of its own is for: that of the alias, where it stands for several."""
    attributes = event.recipients_now()[0].properties.get("attributes")
    alias = attributes.get("alias") if isinstance(attributes, dict) else None
    return alias if isinstance(alias, str) else str(event.recipients_now()[0].address)


def words_of(command: str) -> list[str]:
    """The program and its arguments; raises ValueError for what cannot be split, or names a field that there is not."""
    words = shlex.split(command)
    if not words or not words[0].startswith("/"):
        raise ValueError(f"command: {command!r} should begin with the whole path of a program")
    for word in words:
        if _OPTION_OF_A_STRANGER.match(word):
            raise ValueError(f"command: in {command!r} the name of an option would be what a stranger writes as his address")
        for name in _PLACE.findall(word):
            if name not in _FIELDS:
                raise ValueError(f"command: {command!r} may hold {', '.join('{' + f + '}' for f in _FIELDS)}; not {{{name}}}")
    if _shell_would_read_a_place(words):
        raise ValueError(
            f'command: in {command!r} a shell would run what a stranger writes as his address: give it "$RECIPIENT" and the like'
        )
    return words


def _shell_would_read_a_place(words: list[str]) -> bool:
    """Whether what stands in the place of a field would be a shell's command: ``$(...)``, ``;`` and ``|`` may stand in an address."""
    for number, word in enumerate(words):
        if Path(word).name in _SHELLS:
            script = next((at for at, option in enumerate(words[number:], number) if _SCRIPT.fullmatch(option)), len(words))
            # What follows the script are its parameters, which it reads as text.
            return any(_PLACE.search(word) for word in words[script + 1 : script + 2])
    return False


def filled(word: str, values: dict[str, str]) -> str:
    """One argument of a command: whatever stands in the place of a field is a part of it, and never becomes a second one.

    Args:
        word: as the command has it.
        values: what stands for each field.

    Raises: LooksLikeOptionError when only what a stranger wrote makes an option of it.
    """
    made = _PLACE.sub(lambda place: values[place[1]], word)
    if made.startswith("-") and not word.startswith("-"):
        raise LooksLikeOptionError
    return made


def _user(name: str) -> dict[str, Any]:
    """What makes a process run as a user. Raises ValueError for one that there is not."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ValueError(f"user: there is no user {name!r}") from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": os.getgrouplist(name, entry.pw_gid)}


def _pieces(top: bytes, content: BinaryIO) -> Iterator[bytes]:
    yield top
    while piece := content.read(_CHUNK):
        yield piece
