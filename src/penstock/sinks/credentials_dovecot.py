"""Users whom Dovecot knows: passwords are compared by its auth server, over the socket that it has for mail servers.

That way come also PAM, system users and all that Dovecot can ask. One connection for each question: it is a socket of this machine, and
there is no answer to somebody else's question on it.

Source: the authentication protocol of Dovecot, version 1.2 (Dovecot's documentation, "Authentication Protocol v1.2").
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from penstock import Sink

from .credentials_elsewhere import PasswordElsewhere
from .lookup import LookupFailed

_LONGEST = 16 * 1024
_MOST_LINES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsDovecotSettings:
    """Where Dovecot is.

    Args:
        socket: its socket for clients of the auth server, such as ``/run/dovecot/auth-client``.
        service: what Dovecot is told that it is for.
        seconds: how long it may take; Dovecot delays failures by some two seconds.
    """

    socket: Path
    service: str = "smtp"
    seconds: float = 15.0


class CredentialsDovecot(PasswordElsewhere, Sink[CredentialsDovecotSettings]):
    """Asks the auth server of Dovecot, by PLAIN."""

    settings: CredentialsDovecotSettings

    def __init__(self, settings: CredentialsDovecotSettings) -> None:
        super().__init__(settings)
        if not settings.service.isalnum():
            raise ValueError(f"service: {settings.service!r} should be a word such as 'smtp'")

    async def ask(self, user: str, password: str, client_ip: str) -> str | None:
        """Has the password compared; a failure does not tell whether the user exists."""
        reader, writer = await asyncio.open_unix_connection(str(self.settings.socket), limit=_LONGEST)
        try:
            await self._begin(reader, writer)
            response = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
            # "nologin": nobody goes on to a mailbox with this; "secured": TLS is our business. "resp" is the last parameter.
            request = [
                "AUTH",
                "1",
                "PLAIN",
                f"service={self.settings.service}",
                "secured",
                "nologin",
                f"rip={client_ip}",
                f"resp={response}",
            ]
            writer.write("\t".join(request).encode() + b"\n")
            await writer.drain()
            return self._judged(user, await self._answer(reader))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both sides say who they are; the server's part ends with DONE."""
        writer.write(f"VERSION\t1\t2\nCPID\t{os.getpid()}\n".encode())
        mechanisms = set()
        for _ in range(_MOST_LINES):
            word, *parameters = await _line(reader)
            if word == "VERSION" and parameters[:1] != ["1"]:
                raise LookupFailed("Dovecot speaks another version of the protocol")
            if word == "MECH" and parameters:
                mechanisms.add(parameters[0].upper())
            if word == "DONE":
                if "PLAIN" not in mechanisms:
                    raise LookupFailed("Dovecot does not have the mechanism PLAIN")
                return
        raise LookupFailed("Dovecot does not come to an end of its greeting")

    async def _answer(self, reader: asyncio.StreamReader) -> list[str]:
        for _ in range(_MOST_LINES):
            fields = await _line(reader)
            if fields[0] in ("OK", "FAIL", "CONT") and fields[1:2] == ["1"]:
                return fields
        raise LookupFailed("Dovecot does not answer what it was asked")

    def _judged(self, user: str, fields: list[str]) -> str | None:
        said = dict(field.partition("=")[::2] for field in fields[2:])
        if fields[0] == "OK":
            return _unescaped(said.get("user") or user)
        if fields[0] == "CONT":
            raise LookupFailed("Dovecot wants more than PLAIN has")
        if "temp" in said or said.get("code") == "temp_fail":
            raise LookupFailed("Dovecot cannot look the user up now")
        return None


async def _line(reader: asyncio.StreamReader) -> list[str]:
    line = await reader.readuntil(b"\n")
    return line.decode("utf-8", "replace").rstrip("\n").split("\t")


def _unescaped(text: str) -> str:
    """What the protocol cannot say as it is stands behind a character 1."""
    for written, meant in (("\x011", "\x01"), ("\x01t", "\t"), ("\x01r", "\r"), ("\x01n", "\n"), ("\x010", "\0")):
        text = text.replace(written, meant)
    return text
