"""What a certificate says, read from its DER: names, dates, who signed it, and the hash that it was signed with.

Python's ``ssl`` tells this only of certificates that it verified, and not of our own at all. It verifies nothing, looks only at the
fields it needs, and takes hostile input: it raises ValueError and nothing else. Rejected: a dependency on a cryptography package for it.
"""

from __future__ import annotations

import calendar
import hashlib
import re
import time
from collections.abc import Iterator

import msgspec

from .tls import CertificateFacts

_SEQUENCE, _SET, _INTEGER, _OID, _OCTETS, _UTC_TIME, _TIME = 0x30, 0x31, 0x02, 0x06, 0x04, 0x17, 0x18
_EXTENSIONS, _VERSION, _DNS_NAME = 0xA3, 0xA0, 0x82
_ALTERNATIVE_NAMES = bytes.fromhex("551d11")  # 2.5.29.17
# What RFC 4514 §3 has short names for, and the address that old authorities put into names.
_ATTRIBUTES = {
    "550403": "CN", "550407": "L", "550408": "ST", "55040a": "O", "55040b": "OU", "550406": "C", "550409": "STREET",
    "0992268993f22c640119": "DC", "0992268993f22c640101": "UID", "2a864886f70d010901": "emailAddress", "550405": "serialNumber",
}  # fmt: skip
# RSA, ECDSA and, within the parameters of RSASSA-PSS, the hashes themselves.
_HASHES = {
    "2a864886f70d01010b": "sha256", "2a864886f70d01010c": "sha384", "2a864886f70d01010d": "sha512", "2a864886f70d01010e": "sha224",
    "2a864886f70d010105": "sha1", "2a864886f70d010104": "md5", "2a8648ce3d040302": "sha256", "2a8648ce3d040303": "sha384",
    "2a8648ce3d040304": "sha512", "2a8648ce3d040301": "sha224", "2a8648ce3d0401": "sha1",
}  # fmt: skip
_PSS = "2a864886f70d01010a"
_PLAIN_HASHES = {"608648016503040201": "sha256", "608648016503040202": "sha384", "608648016503040203": "sha512"}
# Longer is no name (RFC 1035 §2.3.4: 255 octets; RFC 5280 has 64 characters for most parts), and would only fill memory and log.
_LONGEST = 1000
_MOST_NAMES = 200
# RFC 4514 §2.4: these are escaped in a value.
_SPECIAL = re.compile(r'([,+"\\<>;]|^[ #]| $)')
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
Field = tuple[int, bytes]


class Certificate(msgspec.Struct, frozen=True):
    """A certificate.

    Args:
        facts: what it says.
        begins: when it begins to hold, in seconds since 1970.
        end_point: the data of "tls-server-end-point", b"" where that is not defined (RFC 5929 §4.1).
    """

    facts: CertificateFacts
    begins: float
    end_point: bytes


def read_certificate(der: bytes) -> Certificate:
    """Reads a certificate (RFC 5280 §4.1).

    Raises: ValueError when it is none.
    """
    whole, signed_with, *_ = _all(_only(der, _SEQUENCE), 2)
    fields = _all(whole[1], 6)
    if fields[0][0] == _VERSION:
        fields = fields[1:]
    if len(fields) < 6:
        raise ValueError("a certificate has more fields")
    serial, _, issuer, validity, subject, _ = fields[:6]
    begins, expires = map(_seconds, _all(validity[1], 2)[:2])
    facts = CertificateFacts(
        subject=_name(subject[1]),
        issuer=_name(issuer[1]),
        names=_names(fields[6:]) or _common_names(subject[1]),
        fingerprint=hashlib.sha256(der).hexdigest(),
        serial=serial[1].hex().upper().lstrip("0") or "0",
        expires=expires,
    )
    return Certificate(facts, begins, _end_point(der, signed_with[1]))


def facts_of(der: bytes) -> CertificateFacts:
    """What a stranger's certificate says; only its fingerprint when it cannot be read."""
    try:
        return read_certificate(der).facts
    except ValueError:
        return CertificateFacts("", fingerprint=hashlib.sha256(der).hexdigest())


def _end_point(der: bytes, algorithm: bytes) -> bytes:
    """RFC 5929 §4.1: the hash of the certificate by the one of its signature, but SHA-256 in the place of MD5 and SHA-1."""
    first, *rest = _all(algorithm, 1)
    name = _HASHES.get(first[1].hex(), "")
    if first[1].hex() == _PSS:
        name = next((hash_ for oid, hash_ in _PLAIN_HASHES.items() if rest and bytes.fromhex(oid) in rest[0][1]), "sha1")
    return hashlib.new("sha256" if name in ("md5", "sha1") else name, der).digest() if name else b""


def _names(further: list[Field]) -> tuple[str, ...]:
    """The DNS names for which it is (RFC 5280 §4.2.1.6)."""
    for tag, value in further:
        if tag != _EXTENSIONS:
            continue
        for _, extension in _each(_only(value, _SEQUENCE)):
            oid, *_, octets = _all(extension, 2)
            if oid[1] == _ALTERNATIVE_NAMES:
                names = [text for tag, text in _each(_only(octets[1], _SEQUENCE)) if tag == _DNS_NAME]
                return tuple(_text(name).lower() for name in names[:_MOST_NAMES])
    return ()


def _common_names(subject: bytes) -> tuple[str, ...]:
    """RFC 6125 §6.4.4: without any other name the common name is taken for one."""
    return tuple(value.lower() for kind, value in _parts(subject) if kind == "CN")


def _name(name: bytes) -> str:
    # RFC 4514 §2.1: "starting with the last element"; §2.2: several values of one element are joined by a plus sign.
    elements = ["+".join(f"{kind}={_escaped(value)}" for kind, value in _element(octets)) for _, octets in _each(name)]
    return ",".join(reversed(elements))


def _escaped(value: str) -> str:
    return _SPECIAL.sub(r"\\\1", value)


def _parts(name: bytes) -> Iterator[tuple[str, str]]:
    for _, octets in _each(name):
        yield from _element(octets)


def _element(octets: bytes) -> Iterator[tuple[str, str]]:
    for _, pair in _each(octets):
        kind, value, *_ = _all(pair, 2)
        yield _ATTRIBUTES.get(kind[1].hex(), kind[1].hex()), _text(value[1])


def _text(octets: bytes) -> str:
    """Text without what could end a line of a log or a header field."""
    return _CONTROL.sub("?", octets[:_LONGEST].decode("utf-8", "replace"))


def _seconds(field: Field) -> float:
    tag, octets = field
    if tag not in (_UTC_TIME, _TIME):
        raise ValueError("not a time")
    text = octets.decode("ascii")
    if tag == _UTC_TIME:
        # RFC 5280 §4.1.2.5.1: from 50 on it is the last century.
        text = ("19" if text[:2] >= "50" else "20") + text
    return float(calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ")))


def _only(data: bytes, tag: int) -> bytes:
    found, value = next(_each(data), (0, b""))
    if found != tag:
        raise ValueError(f"tag {found:#x} where {tag:#x} belongs")
    return value


def _all(data: bytes, least: int) -> list[Field]:
    found = list(_each(data))
    if len(found) < least:
        raise ValueError("something is missing")
    return found


def _each(data: bytes) -> Iterator[Field]:
    """The tags and values in a stretch of DER (X.690 §8.1)."""
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise ValueError("cut off")
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            octets = size & 0x7F
            if not 1 <= octets <= 4 or at + octets > len(data):
                raise ValueError("no such length")
            size = int.from_bytes(data[at : at + octets], "big")
            at += octets
        if at + size > len(data):
            raise ValueError("cut off")
        yield tag, data[at : at + size]
        at += size
