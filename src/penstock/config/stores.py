"""What ``[auth] stores`` means: the bindings of the sinks that ship and know users, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import ConfigError
from ..events.plug import BUILT_IN
from .schema import BindingTable, Config
from .values import Duration

# Longer than a sink's own deadlines for its database, and short enough for a client that waits.
_PATIENCE = 20.0


def store_bindings(config: Config) -> Iterator[tuple[BindingTable, str]]:
    """The binding of each store, with the key that it carries out. Raises ConfigError for one that cannot be."""
    for number, store in enumerate(config.auth.stores):
        kind, _, target = store.partition(":")
        if urlsplit(store).password is not None:
            # It would be shown wherever bindings are shown.
            what = "a password stands in a store"
            raise ConfigError(
                f"{config.path}: auth.stores", what, "bind the sink with [[binding]], which takes it from a file or the environment"
            )
        sink, settings = _STORES[kind.lower()](config, store, target)
        yield (
            BindingTable(
                f"auth:{kind.lower()}" if number == 0 else f"auth:{kind.lower()}-{number + 1}",
                f"penstock.sinks.{sink}",
                # The order of the file is that in which they are asked.
                priority=BUILT_IN + number,
                settings=settings,
                timeout=Duration(_PATIENCE),
                threads=16,
            ),
            "auth.stores",
        )


def _file(config: Config, store: str, target: str) -> tuple[str, dict[str, Any]]:
    return "credentials_file:CredentialsFile", {"path": str(config.resolve(target))}


def _sqlite(config: Config, store: str, target: str) -> tuple[str, dict[str, Any]]:
    return "credentials_sqlite:CredentialsSqlite", {"path": str(config.resolve(target))}


def _postgresql(config: Config, store: str, target: str) -> tuple[str, dict[str, Any]]:
    return "credentials_postgresql:CredentialsPostgresql", {"dsn": store}


def _ldap(config: Config, store: str, target: str) -> tuple[str, dict[str, Any]]:
    """``ldap://host/base``, with the DNs of users by a search for ``uid``."""
    parts = urlsplit(store)
    base = unquote(parts.path.strip("/"))
    if not base or not parts.hostname:
        what = f"{store!r} does not say below which DN the users are"
        raise ConfigError(f"{config.path}: auth.stores", what, "write 'ldap://host/ou=people,dc=example,dc=com'")
    return "credentials_ldap:CredentialsLdap", {"uri": f"{parts.scheme}://{parts.netloc}", "base": base}


def _pam(config: Config, store: str, target: str) -> tuple[str, dict[str, Any]]:
    return "credentials_pam:CredentialsPam", {"service": target}


def _dovecot(config: Config, store: str, target: str) -> tuple[str, dict[str, Any]]:
    return "credentials_dovecot:CredentialsDovecot", {"socket": str(config.resolve(target))}


_STORES = {
    "file": _file, "sqlite": _sqlite, "postgresql": _postgresql, "ldap": _ldap, "ldaps": _ldap, "pam": _pam, "dovecot": _dovecot,
}  # fmt: skip
