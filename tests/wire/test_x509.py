"""Certificates as OpenSSL makes them are read like OpenSSL reads them; anything else is a ValueError."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.wire.x509 import facts_of, read_certificate
from support.certificates import certificate
from support.needs import needs, program


def made(folder: Path, *options: str) -> bytes:
    """A self-signed certificate in DER."""
    needs("openssl")
    command = [program("openssl") or "", "req", "-x509", "-nodes", "-keyout", str(folder / "key"), "-out", str(folder / "crt"), *options]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return ssl.PEM_cert_to_DER_cert((folder / "crt").read_text())


EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def test_names_dates_and_numbers_are_those_that_were_given(tmp_path: Path) -> None:
    subject = "/C=DE/O=Example, Inc./OU=a\\+b/CN=mx.example.com/emailAddress=root@example.com"
    names = "subjectAltName=DNS:mx.example.com,DNS:*.Example.COM,IP:192.0.2.1,email:root@example.com"
    der = made(tmp_path, *EC, "-days", "10", "-subj", subject, "-addext", names, "-set_serial", "0x0ABC")
    read = read_certificate(der)
    assert read.facts.subject == "emailAddress=root@example.com,CN=mx.example.com,OU=a\\+b,O=Example\\, Inc.,C=DE"
    assert read.facts.issuer == read.facts.subject
    assert read.facts.names == ("mx.example.com", "*.example.com")
    assert read.facts.serial == "ABC"
    assert read.facts.fingerprint == hashlib.sha256(der).hexdigest()
    assert read.facts.expires - read.begins == 10 * 86400
    assert facts_of(der) == read.facts


def test_dates_after_2049_are_read(tmp_path: Path) -> None:
    """RFC 5280 §4.1.2.5: they are written in another form."""
    read = read_certificate(made(tmp_path, *EC, "-days", "20000", "-subj", "/CN=x"))
    assert read.facts.expires - read.begins == 20000 * 86400


def test_without_other_names_the_common_name_counts(tmp_path: Path) -> None:
    assert read_certificate(made(tmp_path, *EC, "-subj", "/CN=Old.Example")).facts.names == ("old.example",)


def test_control_characters_do_not_come_through(tmp_path: Path) -> None:
    der = made(tmp_path, *EC, "-utf8", "-subj", "/CN=evil\r\nBcc: x\u2028y")
    assert "\r" not in facts_of(der).subject
    assert "\n" not in facts_of(der).subject
    assert "\u2028" not in facts_of(der).subject


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ((*EC, "-sha256"), "sha256"),
        ((*EC, "-sha384"), "sha384"),
        ((*EC, "-sha512"), "sha512"),
        (("-newkey", "rsa:2048", "-sha1"), "sha256"),
        (("-newkey", "rsa:2048", "-sha256"), "sha256"),
        (("-newkey", "rsa:2048", "-sha384", "-sigopt", "rsa_padding_mode:pss"), "sha384"),
        (("-newkey", "ed25519"), ""),
    ],
)
def test_a_login_is_tied_to_the_hash_of_the_signature(tmp_path: Path, options: tuple[str, ...], name: str) -> None:
    """RFC 5929 §4.1; SHA-256 in the place of older ones, and nothing where there is no single hash."""
    der = made(tmp_path, *options, "-subj", "/CN=x")
    assert read_certificate(der).end_point == (hashlib.new(name, der).digest() if name else b"")


def test_every_part_of_a_certificate_and_every_flipped_octet_is_read_or_refused() -> None:
    der = ssl.PEM_cert_to_DER_cert(certificate("mx.example.com").certificate.read_text())
    for end in range(len(der)):
        with pytest.raises(ValueError):
            read_certificate(der[:end])
    for at in range(len(der)):
        for value in (0x00, 0x7F, 0x80, 0xFF, der[at] ^ 1):
            facts_of(der[:at] + bytes([value]) + der[at + 1 :])


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_octets_that_are_no_certificate_are_refused(octets: bytes) -> None:
    assert facts_of(octets).fingerprint == hashlib.sha256(octets).hexdigest()
