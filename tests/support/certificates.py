"""Certificates for tests, made with the ``openssl`` program: no Python package of the project can sign one.

Each is self-signed, so a client that shall trust it is given it as its only authority. They are made once a run and name.
"""

from __future__ import annotations

import functools
import ssl
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from .needs import needs, program


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


@functools.cache
def certificate(*names: str) -> Certificate:
    """A self-signed certificate for DNS names; skips the test when there is no ``openssl``."""
    needs("openssl")
    folder = Path(_folder().name)
    stem = "-".join(names).replace("*", "any")
    made = Certificate(folder / f"{stem}.crt", folder / f"{stem}.key")
    alternatives = ",".join(["IP:127.0.0.1"] * (names[0] == "remote.example") + [f"DNS:{name}" for name in names])
    command = [program("openssl") or "", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={alternatives}"]
    command += ["-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return made


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where they lie; removed when the interpreter ends."""
    return tempfile.TemporaryDirectory(prefix="certificates-")


def server_context(*names: str, oldest: bool = False) -> ssl.SSLContext:
    """What a server speaks TLS with; ``oldest`` allows nothing newer than TLS 1.1, which no client should take (RFC 8996)."""
    own = certificate(*names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if oldest:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():  # Python warns of what is the point here
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(own.certificate, own.key)
    return context
