"""What ``penstock check`` says of TLS: certificates that end, keys that all can read, and services without the TLS that they stand for."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ..app.encrypting import Encryption, expiry_warnings
from ..config import Config
from ..config.securing import tls_policy


def about_tls(config: Config) -> list[str]:
    """One line for each thing that an administrator will want to know.

    Raises: ConfigError for files that cannot be used by anybody; those that only this user cannot read are a warning, as the one who checks
        may be another user than the server is.
    """
    hidden = [path for path in _files(config) if path.exists() and not os.access(path, os.R_OK)]
    found = [f"tls.certificates: this user may not read {path}, so it was not looked at" for path in hidden]
    if not hidden:
        certificates = Encryption(config).certificates()
        found += expiry_warnings(certificates, time.time(), float(config.tls.warn_before))
    return [*found, *_about_keys(config), *_about_listeners(config)]


def _files(config: Config) -> list[Path]:
    tables = [*config.tls.certificates, *(one for listener in config.listeners for one in listener.certificates)]
    return list(dict.fromkeys(path for table in tables for path in (table.certificate, table.key or table.certificate)))


def _about_keys(config: Config) -> Iterator[str]:
    tables = [*config.tls.certificates, *(one for listener in config.listeners for one in listener.certificates)]
    for path in dict.fromkeys(table.key or table.certificate for table in tables):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if mode & stat.S_IROTH:
            yield f"tls.certificates: everybody on this machine can read the key in {path}; chmod o-r"


def _about_listeners(config: Config) -> Iterator[str]:
    for listener in config.listeners:
        policy = tls_policy(config.tls, listener)
        if listener.service == "submission" and policy in ("none", "offer"):
            yield f"listener.{listener.name}.tls: with {policy!r} users may send their mail in clear; RFC 8314 wants TLS for submission"
        if listener.service == "smtp" and policy == "require" and listener.address.port == 25:
            yield f"listener.{listener.name}.tls: servers that do not speak TLS cannot bring their mail (RFC 3207 §4)"
