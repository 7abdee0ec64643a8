"""The gateway: what leaves is sealed for those who are to read it, and what cannot be sealed stays."""

from __future__ import annotations

import subprocess
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from examples.smime_gateway import SmimeGateway

from penstock.testing import SinkTester, SinkTesters
from penstock.verdicts import Defer, Quarantine
from support.needs import needs

MAIL = (
    b"From: ann@example.com\r\nSubject: figures\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
)


def certificate(folder: Path, address: str) -> Path:
    """A certificate and key in one file."""
    path = folder / f"{address}.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={address}"]
    subprocess.run([*make, "-keyout", f"{path}.key", "-out", path], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.key").read_text())
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("openssl")
    folder = tmp_path_factory.mktemp("keys")
    for address in ("own", "dora@example.net", "example.org"):
        certificate(folder, address)
    return folder


@pytest.fixture
def tester(sink_tester: SinkTesters, keys: Path) -> SinkTester:
    return sink_tester(SmimeGateway, domain="example.com", certificates=keys, own=keys / "own.pem")


def opened(content: bytes, key: Path, folder: Path) -> bytes:
    """What a correspondent reads, its signature verified."""
    sealed = folder / "sealed.eml"
    sealed.write_bytes(content)
    signed = subprocess.run(["openssl", "cms", "-decrypt", "-in", sealed, "-inkey", key], check=True, capture_output=True).stdout
    verify = ["openssl", "cms", "-verify", "-CAfile", key.parent / "own.pem", "-purpose", "any"]
    return subprocess.run(verify, input=signed, check=True, capture_output=True).stdout


async def test_what_leaves_is_signed_and_sealed_and_its_own_header_stays(tester: SinkTester, keys: Path, tmp_path: Path) -> None:
    assert await tester.post_categorize(MAIL, sender="ann@example.com", recipients=["dora@example.net", "max@example.org"]) is None
    sealed = message_from_bytes(tester.content, policy=policy.default)
    assert (sealed["Subject"], sealed.get_content_type()) == ("figures", "application/pkcs7-mime")
    assert "Grüße".encode() not in tester.content
    for reader in ("dora@example.net", "example.org"):
        inner = message_from_bytes(opened(tester.content, keys / f"{reader}.pem", tmp_path), policy=policy.default)
        assert inner.get_content().strip() == "Grüße"


async def test_a_recipient_without_a_certificate_fails_alone(tester: SinkTester) -> None:
    tester.set_message(MAIL, sender="ann@example.com", recipients=["dora@example.net", "nobody@example.edu", "bob@example.com"])
    dora, nobody, bob = await tester.resolve()
    assert (dora.decision, nobody.decision, bob.decision) == ("", "failed", "")
    assert nobody.status == "5.7.1"


async def test_mail_within_the_house_and_from_outside_is_not_sealed(tester: SinkTester) -> None:
    assert await tester.post_categorize(MAIL, sender="ann@example.com", recipients=["bob@example.com"]) is None
    assert tester.content == MAIL
    assert await tester.post_categorize(MAIL, sender="dora@example.net", recipients=["max@example.org"]) is None
    assert tester.content == MAIL


async def test_colleagues_keep_the_clear_text_and_the_others_get_a_copy(tester: SinkTester) -> None:
    await tester.post_categorize(MAIL, sender="ann@example.com", recipients=["bob@example.com", "dora@example.net"])
    assert (tester.recipients, tester.content) == (["bob@example.com"], MAIL)
    [copy] = tester.forks
    assert [str(recipient.address) for recipient in copy.recipients] == ["dora@example.net"]
    assert b"application/pkcs7-mime" in copy.content.read()


async def test_what_comes_back_sealed_is_opened_for_those_within(tester: SinkTester, keys: Path) -> None:
    seal = ["openssl", "cms", "-encrypt", "-aes256", str(keys / "own.pem")]
    sealed = subprocess.run(seal, input=b"Content-Type: text/plain\r\n\r\nsecret\r\n", check=True, capture_output=True).stdout
    content = b"From: dora@example.net\r\nSubject: back\r\n" + sealed
    assert await tester.post_categorize(content, sender="dora@example.net", recipients=["ann@example.com"]) is None
    parsed = message_from_bytes(tester.content, policy=policy.default)
    assert (parsed["Subject"], parsed.get_content_type(), parsed.get_content().strip()) == ("back", "text/plain", "secret")


async def test_what_was_sealed_for_somebody_else_is_put_aside(tester: SinkTester, keys: Path) -> None:
    seal = ["openssl", "cms", "-encrypt", "-aes256", str(keys / "example.org.pem")]
    sealed = subprocess.run(seal, input=b"\r\nsecret\r\n", check=True, capture_output=True).stdout
    verdict = await tester.post_categorize(sealed, sender="dora@example.net", recipients=["ann@example.com"])
    assert isinstance(verdict, Quarantine)


@pytest.mark.parametrize("broken", ["no such key", "no openssl", "a recipient was added later"])
async def test_it_fails_closed(sink_tester: SinkTesters, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    own = tmp_path / "missing.pem" if broken == "no such key" else keys / "own.pem"
    tester = sink_tester(SmimeGateway, domain="example.com", certificates=keys, own=own)
    tester.bound(on_error="defer")
    recipients = ["dora@example.net", *(["late@example.edu"] if "later" in broken else [])]
    if broken == "no openssl":
        monkeypatch.setenv("PATH", str(tmp_path))
    verdict = await tester.post_categorize(MAIL, sender="ann@example.com", recipients=recipients)
    assert isinstance(verdict, Defer)
    assert tester.content == MAIL
    assert tester.recipients == recipients
