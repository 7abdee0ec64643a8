"""A gateway that encrypts mail which leaves the house, and decrypts what comes back; what it cannot encrypt does not leave.

Bind it with:

    [[binding]]
    name = "gateway"
    sink = "smime_gateway:SmimeGateway"
    priority = 30000                    # last: nobody edits what is signed
    on_error = "defer"                  # never "continue": that would send it in clear text
    settings = { domain = "example.com", certificates = "certificates", own = "own.pem" }
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from penstock import Address, Message, Sink, on
from penstock.events import PostCategorize, Resolve
from penstock.verdicts import Quarantine


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Whose mail, and with which keys.

    Args:
        domain: our own domain; mail from there to elsewhere is encrypted.
        certificates: a folder with ``alice@example.org.pem`` for each correspondent, or ``example.org.pem`` for a whole domain.
        own: the gateway's certificate and key, in one file.
        seconds: how long openssl may take.
    """

    domain: str
    certificates: Path
    own: Path
    seconds: float = 20.0


class SmimeGateway(Sink[GatewaySettings]):
    """Signs and encrypts by CMS (RFC 8551). Any error raises: the message stays as it was, in the queue, and is tried again."""

    @on(Resolve)
    async def trust(self, event: Resolve) -> None:
        """A recipient without a certificate fails alone, and the sender learns why; the others go on."""
        for item in event.open if event.message.sender.domain == self.settings.domain else ():
            if item.kind == "recipient" and item.address.domain != self.settings.domain and not self._certificate(item.address):
                item.fail("5.7.1", "There is no certificate to encrypt for this recipient")

    @on(PostCategorize)
    async def transform(self, event: PostCategorize) -> Quarantine | None:
        """Recipients are final here: lists are expanded, so nobody is added afterwards for whom it was not encrypted."""
        message, sealed = event.message, "enveloped-data" in (event.message.header.get("Content-Type") or "")
        outside = [recipient for recipient in message.recipients if recipient.address.domain != self.settings.domain]
        if message.sender.domain == self.settings.domain and outside and not sealed:
            certificates = [str(self._certificate(recipient.address) or "/missing") for recipient in outside]
            leaving = message if len(outside) == len(message.recipients) else message.fork(outside)
            inner = await self._openssl(
                "-sign", "-signer", str(self.settings.own), data=_entity(leaving, inner=True) + await _body(leaving)
            )
            sealing = await self._openssl("-encrypt", "-aes256", *certificates, data=inner)
            leaving.replace_content(_entity(leaving, inner=False) + sealing)
        elif sealed and not outside:
            try:
                opened = await self._openssl("-decrypt", "-inkey", str(self.settings.own), data=await message.read())
            except ValueError as error:
                return Quarantine(f"cannot be decrypted: {error}"[:200])
            message.replace_content(_entity(message, inner=False) + opened)
        return None

    def _certificate(self, address: Address) -> Path | None:
        names = (f"{address}.pem".lower(), f"{address.domain}.pem")
        return next((path for name in names if "/" not in name and (path := self.settings.certificates / name).exists()), None)

    async def _openssl(self, *arguments: str, data: bytes) -> bytes:
        """What ``openssl cms`` makes of the data. Raises ValueError with its words; OSError, TimeoutError."""
        pipe = asyncio.subprocess.PIPE
        openssl = await asyncio.create_subprocess_exec("openssl", "cms", *arguments, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            async with asyncio.timeout(self.settings.seconds):
                output, said = await openssl.communicate(data)
        finally:
            if openssl.returncode is None:
                openssl.kill()
        if openssl.returncode or not output:
            raise ValueError(said.decode("utf-8", "replace").strip())
        return output


def _entity(message: Message, *, inner: bool) -> bytes:
    """The header fields that go inside the envelope, those of the content, or those that stay outside."""
    return b"".join(f.raw for f in message.header if f.name.lower().startswith(("content-", "mime-version")) == inner)


async def _body(message: Message) -> bytes:
    return b"\r\n" + (await message.read()).partition(b"\r\n\r\n")[2]
