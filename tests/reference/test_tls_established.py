"""An example of TlsEstablished."""

from penstock import Sink, on
from penstock.events import CertificateFacts, TlsEstablished, TlsFacts
from penstock.testing import SinkTesters


class OldVersions(Sink):
    """Says who still speaks TLS 1.2, so that they can be told."""

    @on(TlsEstablished)
    async def note(self, event: TlsEstablished) -> None:
        if event.tls.version == "TLSv1.2":
            shown = event.tls.certificate.subject if event.tls.certificate is not None else ""
            self.log.info("old TLS", client=event.session.client_ip, certificate=shown)


async def test_old_versions_are_noted(sink_tester: SinkTesters) -> None:
    tester = sink_tester(OldVersions())
    await tester.tls_established()
    assert not list(tester.log)
    await tester.tls_established(TlsFacts("TLSv1.2", certificate=CertificateFacts("CN=mail.partner.example")))
    assert [line["certificate"] for line in tester.log.named("old TLS")] == ["CN=mail.partner.example"]
