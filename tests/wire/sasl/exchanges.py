"""Both sides of an exchange joined, with an answer to whatever the server wants to know."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.wire.sasl.base import (
    Answer,
    Ask,
    Certificate,
    Challenge,
    ClientMechanism,
    Failure,
    Keys,
    Known,
    Password,
    PlainSecret,
    Secret,
    ServerMechanism,
    Step,
    Success,
)
from penstock.wire.sasl.scram import keys_of

SALT = b"sixteen octets.."


@dataclass
class Users:
    """Who there is, by name, with a password, which is also the token; and whom the certificate stands for."""

    passwords: dict[str, str]
    certificate: str = ""
    asked: list[Ask] = field(default_factory=list)

    def answer(self, ask: Ask) -> Answer:
        """What a store would say."""
        self.asked.append(ask)
        if isinstance(ask, Certificate):
            return Known(self.certificate) if self.certificate and ask.authorize_as in ("", self.certificate) else None
        password = self.passwords.get(ask.user)
        if password is None:
            return None
        if isinstance(ask, Keys):
            return keys_of(ask.user, password, ask.mechanism, SALT, 4096)
        if isinstance(ask, Secret):
            return PlainSecret(ask.user, password)
        given = ask.password if isinstance(ask, Password) else ask.token
        return Known(ask.user) if given == password else None


def joined(client: ClientMechanism, server: ServerMechanism, users: Users, spoil: int = -1) -> Success | Failure:
    """Lets them speak until the end; the client's message of number ``spoil`` arrives with its last octet changed."""
    said = 0

    def sent(message: bytes | None) -> bytes | None:
        nonlocal said
        said += 1
        if message and said - 1 == spoil:
            return message[:-1] + bytes([message[-1] ^ 1])
        return message

    step: Step = server.start(sent(client.initial()))
    for _ in range(10):
        if isinstance(step, Success):
            client.finish()
            return step
        if isinstance(step, Failure):
            return step
        if isinstance(step, Challenge):
            response = sent(client.respond(step.data))
            assert response is not None
            step = server.respond(response)
        else:
            step = server.answer(users.answer(step))
    raise AssertionError("the exchange has no end")
