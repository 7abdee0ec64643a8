"""The certificates of a worker: read once for all listeners that share them, read again when their files change, and warned of in time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable
from dataclasses import replace

from ..config import Config
from ..config.listening import ListenerTable
from ..config.securing import CertificateTable, tls_policy
from ..errors import ConfigError
from ..hosts.smtp.certificates import CertificateFiles, Certificates, TlsRules
from ..hosts.smtp.encryption import TlsServing
from ..observe.log import Log
from ..wire.x509 import Certificate

_DAY = 86400.0


class Encryption:
    """The TLS of all listeners of a configuration.

    Args:
        config: the configuration, checked.

    Raises: ConfigError that names a file that cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self._kept: dict[tuple[tuple[CertificateFiles, ...], TlsRules], Certificates] = {}
        self._warned: dict[str, float] = {}
        self._broken: dict[Certificates, object] = {}
        self.every = float(config.tls.refresh)
        self._warn_before = float(config.tls.warn_before)
        self.serving = {listener.name: self._serving(config, listener) for listener in config.listeners}

    def _serving(self, config: Config, listener: ListenerTable) -> TlsServing | None:
        serving = pretended(config, listener)
        if serving is None:
            return None
        rules = TlsRules(
            minimum=config.tls.minimum,
            ciphers=config.tls.ciphers,
            clients=listener.client_certificates or config.tls.client_certificates,
            authorities=listener.client_ca_file or config.tls.client_ca_file,
        )
        files = tuple(map(_files, listener.certificates or config.tls.certificates))
        try:
            kept = self._kept[files, rules] = self._kept.get((files, rules)) or Certificates(files, rules)
        except ConfigError as error:
            raise ConfigError(f"{config.path}: {error.where}", error.what, error.hint) from None
        return replace(serving, certificates=kept)

    def certificates(self) -> list[tuple[str, Certificate]]:
        """All certificates, with their files, each once."""
        return list({str(path): one for kept in self._kept.values() for path, one in kept.current.certificates}.items())

    async def watch(self, log: Log) -> None:
        """Takes up new files as they come, and warns of the end of certificates, for ever."""
        while True:
            self.warn(log)
            await asyncio.sleep(self.every)
            await self.refresh(log)

    async def refresh(self, log: Log) -> None:
        """Takes up the files that changed; those that cannot be used leave what was there in force, with one line each time they change."""
        for kept in self._kept.values():
            # In a thread: a key takes its time, and a file system may hang.
            stamp = await asyncio.to_thread(kept.stamp)
            if stamp == kept.current.stamp or stamp == self._broken.get(kept):
                continue
            try:
                fresh = await asyncio.to_thread(kept.read)
            except ConfigError as error:
                self._broken[kept] = stamp
                log.error("new certificate cannot be used, the old one stays", error=error.what)
                continue
            kept.current = fresh
            self._broken.pop(kept, None)
            for path, certificate in fresh.certificates:
                facts = certificate.facts
                log.info("certificate taken up", file=str(path), names=list(facts.names), days=_days(certificate, time.time()))

    def warn(self, log: Log) -> None:
        """Warns of certificates whose end is near, once a day."""
        now = time.time()
        for path, certificate in self.certificates():
            if certificate.facts.expires - now > self._warn_before or now - self._warned.get(path, -math.inf) < _DAY:
                continue
            self._warned[path] = now
            if certificate.facts.expires <= now:
                log.error("certificate has expired", file=path, names=list(certificate.facts.names))
            else:
                log.warning("certificate expires soon", file=path, names=list(certificate.facts.names), days=_days(certificate, now))


def pretended(config: Config, listener: ListenerTable) -> TlsServing | None:
    """What a listener does with TLS, without certificates: enough for a network within the process, where nothing is read."""
    policy = tls_policy(config.tls, listener)
    if policy == "none":
        return None
    required = policy in ("require", "implicit")
    return TlsServing(None, implicit=policy == "implicit", required=required, handshake=float(config.tls.handshake))


def expiry_warnings(certificates: Iterable[tuple[str, Certificate]], now: float, before: float) -> list[str]:
    """What ``penstock check`` says of certificates that do not hold, or soon will not."""
    found = []
    for path, certificate in certificates:
        if certificate.begins > now:
            found.append(f"tls.certificates: the certificate in {path} does not hold yet")
        if certificate.facts.expires <= now:
            found.append(f"tls.certificates: the certificate in {path} has expired")
        elif certificate.facts.expires - now <= before:
            found.append(f"tls.certificates: the certificate in {path} expires in {_days(certificate, now)} days")
    return found


def _files(table: CertificateTable) -> CertificateFiles:
    return CertificateFiles(table.certificate, table.key or table.certificate)


def _days(certificate: Certificate, now: float) -> int:
    return int((certificate.facts.expires - now) // _DAY)
