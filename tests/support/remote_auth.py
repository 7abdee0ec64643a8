"""AUTH of a scripted remote by any mechanism but PLAIN and LOGIN: the server's machines of the kit, with the remote's accounts."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Awaitable, Callable, Mapping

from penstock.wire.sasl import mechanisms
from penstock.wire.sasl.base import (
    UNBOUND,
    Answer,
    Ask,
    Certificate,
    Challenge,
    ChannelBindings,
    Keys,
    Known,
    Password,
    PlainSecret,
    Secret,
    Success,
)
from penstock.wire.sasl.scram import keys_of
from penstock.wire.x509 import read_certificate

from .certificates import certificate

ITERATIONS = 4096


def side(names: tuple[str, ...], offered: tuple[str, ...], secure: bool) -> mechanisms.ServerSide:
    """What the machines are told of a remote's connection."""
    if not secure:
        return mechanisms.ServerSide("remote.example", UNBOUND, offered)
    der = ssl.PEM_cert_to_DER_cert(certificate(*names).certificate.read_text())
    return mechanisms.ServerSide("remote.example", ChannelBindings({"tls-server-end-point": read_certificate(der).end_point}), offered)


async def exchange(
    mechanism: str,
    initial: bytes | None,
    about: tuple[mechanisms.ServerSide, Mapping[str, str]],
    ask: Callable[[str], Awaitable[str]],
) -> tuple[bool, str, str]:
    """Runs an exchange: whether the client is in, whom it said it is, and what it said to prove it, where that can be seen.

    Args:
        mechanism: its name.
        initial: the initial response.
        about: the connection; and the accounts, user to password or token.
        ask: sends the argument of a 334 and gives the line that comes.
    """
    told, accounts = about
    machine = mechanisms.server(mechanism, told)
    step = machine.start(initial)
    user = proof = ""
    while True:
        if isinstance(step, Challenge):
            line = await ask(base64.b64encode(step.data).decode())
            if line == "*":
                return False, user, proof
            step = machine.respond(base64.b64decode(line, validate=True))
        elif isinstance(step, Ask):
            user, proof = getattr(step, "user", ""), getattr(step, "password", "") or getattr(step, "token", "")
            step = machine.answer(_answer(step, accounts))
        else:
            return isinstance(step, Success), user, proof


def _answer(asked: Ask, accounts: Mapping[str, str]) -> Answer:
    if isinstance(asked, Certificate):
        return Known(asked.authorize_as or "by-certificate")
    expected = accounts.get(asked.user)
    if expected is None:
        return None
    if isinstance(asked, Keys):
        return keys_of(asked.user, expected, asked.mechanism, b"a salt of sixteen", ITERATIONS)
    if isinstance(asked, Secret):
        return PlainSecret(asked.user, expected)
    given = asked.password if isinstance(asked, Password) else asked.token
    return Known(asked.user) if given == expected else None
