"""``[auth]``: how users prove who they are, and what it costs to guess; part of the schema, apart for the length of the file."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import ConfigError
from ..wire.sasl.mechanisms import NAMES
from .values import Duration

# How a store is written, and what stands before the colon.
FORMS = "'file:PATH', 'sqlite:PATH', 'postgresql://...', 'ldap://...', 'pam:SERVICE' or 'dovecot:/SOCKET'"
KINDS = ("file", "sqlite", "postgresql", "ldap", "ldaps", "pam", "dovecot")


@dataclass(slots=True)
class AuthTable:
    """``[auth]``.

    Args:
        stores: where users are known, asked in this order: ``file:PATH``, ``sqlite:PATH``, ``postgresql://...``, ``ldap://...``,
            ``pam:SERVICE``, ``dovecot:/SOCKET``. AUTH is offered when there is one, or a sink is bound to ``Credentials``.
        mechanisms: those that are offered, in order of preference; empty for those that all stores can serve.
        without_tls: passwords may be sent in clear.
        delay: what the first failed login waits for its answer; each further one waits twice as long.
        longest_delay: what it waits at most.
        window: how long a failure counts.
        failures_per_session: after which a session is ended.
        failures_per_client: in the window, after which an address is refused; 0 for no limit.
        failures_per_user: in the window, after which a user is refused, but from where that user got in before; 0 for no limit.
        waiting: sessions of a worker that may wait for the answer to a failure at the same time; those above are ended at once.
    """

    stores: list[str] = field(default_factory=list)
    mechanisms: list[str] = field(default_factory=list)
    without_tls: bool = False
    delay: Duration = Duration(1)
    longest_delay: Duration = Duration(10)
    window: Duration = Duration(600)
    failures_per_session: int = 5
    failures_per_client: int = 30
    failures_per_user: int = 100
    waiting: int = 1000


def check_auth(table: AuthTable, place: str) -> None:
    """Refuses stores and mechanisms that there are not, and limits that nobody could keep. Raises ConfigError."""
    for store in table.stores:
        kind, colon, target = store.partition(":")
        if kind.lower() not in KINDS or not colon or not target.strip("/"):
            raise ConfigError(f"{place}.stores", f"{store.partition('@')[0]!r} is not understood", f"write {FORMS}")
    for name in table.mechanisms:
        if name.upper() not in NAMES:
            raise ConfigError(f"{place}.mechanisms", f"there is no mechanism {name!r}", f"there are: {', '.join(NAMES)}")
    if table.delay < 0 or table.longest_delay < table.delay:
        raise ConfigError(f"{place}.longest_delay", "it is not shorter than 'delay', and that is not below 0")
    if table.longest_delay > 120:
        raise ConfigError(f"{place}.longest_delay", "it is at most 2 minutes", "clients give up, and sessions wait meanwhile")
    for name, least in (("window", 1), ("failures_per_session", 1), ("waiting", 1), ("failures_per_client", 0), ("failures_per_user", 0)):
        if getattr(table, name) < least:
            raise ConfigError(f"{place}.{name}", f"it is at least {least}", "leave it out for the default")
