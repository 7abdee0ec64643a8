"""Our certificates: read from files, chosen by name, taken up anew, and refused with the name of what is wrong."""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from penstock.errors import ConfigError
from penstock.hosts.smtp.certificates import CertificateFiles, Certificates, Keyring, TlsRules
from support.certificates import certificate


def files(folder: Path, *names: str) -> CertificateFiles:
    """Copies of a certificate and its key that a test may write to."""
    own = certificate(*names)
    made = CertificateFiles(folder / "fullchain.pem", folder / "privkey.pem")
    made.certificate.write_bytes(own.certificate.read_bytes())
    made.key.write_bytes(own.key.read_bytes())
    return made


def test_a_name_leads_to_its_certificate_and_a_wildcard_to_one_label() -> None:
    chosen = [certificate(name) for name in ("first.example", "mx.example.com", "*.example.org")]
    keyring = Keyring(tuple(CertificateFiles(one.certificate, one.key) for one in chosen), TlsRules())

    def name_for(name: str) -> str:
        context = keyring.context_for(name)
        return next(
            one.facts.names[0] for number, (_, one) in enumerate(keyring.certificates) if context is list(keyring._by_context)[number]
        )

    assert name_for("mx.example.com") == "mx.example.com"
    assert name_for("MX.example.COM.") == "mx.example.com"
    assert name_for("a.example.org") == "*.example.org"
    assert name_for("a.b.example.org") == "first.example"
    assert name_for("example.org") == "first.example"
    assert name_for("*.example.org") == "*.example.org"
    assert name_for("") == "first.example"


def test_certificate_and_key_may_be_in_one_file(tmp_path: Path) -> None:
    own = certificate("mx.example.com")
    both = tmp_path / "both.pem"
    both.write_bytes(own.key.read_bytes() + own.certificate.read_bytes())
    assert Keyring((CertificateFiles(both, both),), TlsRules()).certificates[0][1].facts.names == ("mx.example.com",)


@pytest.mark.parametrize("kind", ["no certificate", "no key", "not a certificate", "not a key", "another key", "encrypted key", "empty"])
def test_what_cannot_be_used_is_named(tmp_path: Path, kind: str) -> None:
    made = files(tmp_path, "mx.example.com")
    match kind:
        case "no certificate":
            made.certificate.unlink()
        case "no key":
            made.key.unlink()
        case "not a certificate":
            made.certificate.write_text("hello")
        case "not a key":
            made.key.write_text("hello")
        case "another key":
            made.key.write_bytes(certificate("other.example").key.read_bytes())
        case "encrypted key":
            command = ["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-in", str(made.key), "-out", str(tmp_path / "locked")]
            subprocess.run(command, check=True, capture_output=True)
            (tmp_path / "locked").rename(made.key)
        case "empty":
            made.certificate.write_text("")
    expected = {
        "no certificate": f"the file {made.certificate} cannot be read: No such file",
        "no key": f"the file {made.key} cannot be read: No such file",
        "another key": f"the key in {made.key} does not belong to the certificate in {made.certificate}",
        "encrypted key": f"the key in {made.key} is encrypted",
    }
    with pytest.raises(ConfigError) as caught:
        Keyring((made,), TlsRules())
    assert caught.value.where == "tls.certificates"
    assert expected.get(kind, str(made.certificate)) in str(caught.value)
    assert "\n" not in caught.value.what


def test_ciphers_that_do_not_exist_and_authorities_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    made = files(tmp_path, "mx.example.com")
    with pytest.raises(ConfigError, match="OpenSSL knows no cipher in 'NONSENSE'"):
        Keyring((made,), TlsRules(ciphers="NONSENSE"))
    with pytest.raises(ConfigError, match=r"tls.client_ca_file: the file .*nobody.pem cannot be read: No such file"):
        Keyring((made,), TlsRules(clients="ask", authorities=tmp_path / "nobody.pem"))


def test_new_files_are_seen_and_read(tmp_path: Path) -> None:
    made = files(tmp_path, "mx.example.com")
    kept = Certificates((made,), TlsRules())
    assert kept.stamp() == kept.current.stamp
    files(tmp_path, "new.example.com")
    assert kept.stamp() != kept.current.stamp
    assert kept.read().certificates[0][1].facts.names == ("new.example.com",)


def test_a_link_that_moves_is_a_change(tmp_path: Path) -> None:
    """Certbot's files are links into a folder of versions."""
    for version, name in (("1", "mx.example.com"), ("2", "new.example.com")):
        (tmp_path / version).mkdir()
        files(tmp_path / version, name)
    for name in ("fullchain.pem", "privkey.pem"):
        (tmp_path / name).symlink_to(Path("1") / name)
    kept = Certificates((CertificateFiles(tmp_path / "fullchain.pem", tmp_path / "privkey.pem"),), TlsRules())
    for name in ("fullchain.pem", "privkey.pem"):
        (tmp_path / "link").symlink_to(Path("2") / name)
        (tmp_path / "link").rename(tmp_path / name)
    assert kept.stamp() != kept.current.stamp
    assert kept.read().certificates[0][1].facts.names == ("new.example.com",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_is_not_ours_to_read_is_named(tmp_path: Path) -> None:
    made = files(tmp_path, "mx.example.com")
    made.key.chmod(0)
    with pytest.raises(ConfigError, match=r"privkey.pem cannot be read: Permission denied"):
        Keyring((made,), TlsRules())


def test_what_a_login_is_tied_to_is_the_hash_of_the_certificate() -> None:
    """RFC 5929 §4.1, with the hash of the signature."""
    own = certificate("mx.example.com")
    keyring = Keyring((CertificateFiles(own.certificate, own.key),), TlsRules())
    der = ssl.PEM_cert_to_DER_cert(own.certificate.read_text())
    ((_, read),) = keyring.certificates
    assert read.end_point == hashlib.sha256(der).digest()
    assert 0 < read.facts.expires - time.time() < 3 * 86400
