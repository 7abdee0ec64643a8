"""In the network of a test there are no handshakes: a session counts as secured after STARTTLS, or where TLS comes first."""

from __future__ import annotations

from penstock import Match, Sink, on
from penstock.events import MailFrom, TlsEstablished
from penstock.testing import MailServer
from penstock.verdicts import Reject

# The files are not there, and nobody looks.
TLS = """
[tls]
certificates = [{ certificate = "none.pem" }]
[[listener]]
name = "mx"
address = "127.0.0.1:25"
[[listener]]
name = "first"
address = "127.0.0.1:465"
tls = "implicit"
"""


class OnlySecured(Sink):
    @on(MailFrom, match=Match(tls=False))
    async def refuse(self, event: MailFrom) -> Reject:
        return Reject(530, "5.7.0", "TLS, please")


async def test_starttls_counts_without_a_handshake(mail_server: MailServer) -> None:
    mail_server.configure(TLS)
    mail_server.bind(OnlySecured())
    client = await mail_server.client(listener="mx")
    assert (await client.say("MAIL FROM:<a@client.example>")).code == 530
    assert (await client.say("STARTTLS")).code == 220
    assert (await client.say("MAIL FROM:<a@client.example>")).code == 503
    assert (await client.say("EHLO client.example", "MAIL FROM:<a@client.example>")).code == 250
    assert [event.tls.version for event in mail_server.told(TlsEstablished)] == ["TLSv1.3"]


async def test_where_tls_comes_first_a_session_begins_secured(mail_server: MailServer) -> None:
    mail_server.configure(TLS)
    mail_server.bind(OnlySecured())
    client = await mail_server.client(listener="first")
    assert (await client.say("MAIL FROM:<a@client.example>")).code == 250
