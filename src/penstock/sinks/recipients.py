"""Who exists here: a recipient that nobody would read is refused while the client still listens, not bounced later to a forged sender."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from penstock import Sink, on
from penstock.events import RcptTo
from penstock.verdicts import Reject, Rewrite

from .aliases import read_aliases
from .domains import DomainTable

_UNKNOWN = Reject(550, "5.1.1", "No such user here")
_EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class DomainRecipients:
    """Who exists in one domain; compared without regard to case.

    Args:
        users: local parts; ``["*"]`` for all.
        aliases: further local parts that stand for others.
        alias_file: a file in the syntax of /etc/aliases, whose names exist too.
    """

    users: list[str] = field(default_factory=lambda: [_EVERYBODY])
    aliases: list[str] = field(default_factory=list)
    alias_file: Path | None = None

    def names(self) -> frozenset[str]:
        """All of them, in lower case. Raises ConfigError for an alias file that cannot be used."""
        filed = [alias.name for alias in read_aliases(self.alias_file)] if self.alias_file else []
        return frozenset(name.lower() for name in [*self.users, *self.aliases, *filed])


@dataclass(frozen=True, slots=True)
class LocalRecipientsSettings:
    """Who exists here.

    Args:
        domains: the local domains; ``.example.com`` means that domain and all below it. The first one is postmaster's own.
        delimiter: what separates a user's name from what he adds to it, as in ``alice+lists``; "" for nothing.
    """

    domains: dict[str, DomainRecipients]
    delimiter: str = "+"


class LocalRecipients(Sink[LocalRecipientsSettings]):
    """Refuses recipients of local domains that do not exist; postmaster exists in each.

    A recipient elsewhere is none of its business. A bare ``postmaster`` becomes the postmaster of the first local domain, since the
    address "MUST be accepted" without a domain too (RFC 5321 §4.5.1).

    Raises: ValueError for a domain that is none.
    """

    def __init__(self, settings: LocalRecipientsSettings) -> None:
        super().__init__(settings)
        known = {domain: recipients.names() for domain, recipients in settings.domains.items()}
        self._domains = DomainTable(known)
        self._home = next((domain.lower().lstrip(".") for domain in settings.domains), "")

    @on(RcptTo, blocking=False)
    def check(self, event: RcptTo) -> Reject | Rewrite | None:
        """Goes on when the recipient exists or is not ours."""
        address = event.recipient.address
        if not address.domain:
            return Rewrite(address.with_domain(self._home)) if self._home else None
        known = self._domains.find(address.domain)
        if known is None or _EVERYBODY in known:
            return None
        local = address.local.lower()
        if local in known:
            return None
        delimiter = self.settings.delimiter
        if delimiter:
            local = local.partition(delimiter)[0]
        return None if local in known or local == "postmaster" else _UNKNOWN
