"""``[tls]`` and what listeners say of it: what each service stands for, and what could never be spoken."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config import load
from penstock.config.securing import tls_policy
from penstock.errors import ConfigError

START = '[server]\nhostname = "mx.example.com"\n'
CERTIFICATE = '[tls]\ncertificates = [{ certificate = "a.crt", key = "a.key" }]\n'


def configured(folder: Path, listener: str, tls: str = "") -> Path:
    path = folder / "penstock.toml"
    path.write_text(f'{START}{tls}[[listener]]\nname = "mx"\naddress = "127.0.0.1:0"\n{listener}\n')
    return path


@pytest.mark.parametrize(
    ("service", "policy"), [("smtp", "offer"), ("submission", "require"), ("submissions", "implicit"), ("lmtp", "offer")]
)
def test_each_service_has_its_own_use_of_tls_where_there_is_a_certificate(tmp_path: Path, service: str, policy: str) -> None:
    config = load(configured(tmp_path, f'service = "{service}"', CERTIFICATE))
    assert tls_policy(config.tls, config.listeners[0]) == policy


@pytest.mark.parametrize("service", ["smtp", "submission", "lmtp"])
def test_without_a_certificate_there_is_no_tls(tmp_path: Path, service: str) -> None:
    config = load(configured(tmp_path, f'service = "{service}"'))
    assert tls_policy(config.tls, config.listeners[0]) == "none"


def test_a_listener_has_the_last_word_and_its_own_files(tmp_path: Path) -> None:
    listener = 'tls = "require"\ncertificates = [{ certificate = "b.pem" }]\nclient_certificates = "ask"\nclient_ca_file = "ca.pem"'
    config = load(configured(tmp_path, listener))
    (table,) = config.listeners
    assert tls_policy(config.tls, table) == "require"
    assert table.certificates[0].certificate == tmp_path / "b.pem"
    assert table.certificates[0].key is None
    assert table.client_ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("listener", "tls", "where", "what"),
    [
        ('service = "submissions"', "", "listener.mx.service", "there is no certificate for TLS ('implicit')"),
        ('tls = "offer"', "", "listener.mx.tls", "there is no certificate for TLS ('offer')"),
        ('tls = "implicit"', "", "listener.mx.tls", "there is no certificate for TLS ('implicit')"),
        ('service = "submissions"\ntls = "offer"', CERTIFICATE, "listener.mx.tls", "TLS from the first octet, and not 'offer'"),
        ('client_certificates = "ask"', CERTIFICATE, "listener.mx.client_certificates", "nobody says who may have signed them"),
        ("", CERTIFICATE + 'client_certificates = "require"\n', "tls.client_certificates", "nobody says who may have signed them"),
        ("", CERTIFICATE + 'handshake = "0s"\n', "tls.handshake", "it is above 0"),
        ('tls = "always"', CERTIFICATE, "listener.mx.tls", "always"),
        ("", CERTIFICATE + 'minimum = "TLSv1.1"\n', "tls.minimum", "TLSv1.1"),
        ("", '[tls]\ncertificate = "a.crt"\n', "tls", "unknown key 'certificate'"),
    ],
)
def test_what_could_never_be_spoken_is_refused(tmp_path: Path, listener: str, tls: str, where: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(configured(tmp_path, listener, tls))
    assert where in caught.value.where
    assert what in str(caught.value)
