"""Who exists here: a recipient that nobody would read is refused while the client still listens, not bounced later to a forged sender."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock import Address, Sink, on
from penstock.events import Item, RcptTo, Resolve
from penstock.verdicts import Reject, Rewrite

from .domains import DomainTable
from .known import is_known

_UNKNOWN = Reject(550, "5.1.1", "No such user here")
_EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class DomainRecipients:
    """Who exists in one domain; compared without regard to case.

    Args:
        users: local parts; ``["*"]`` for all.
        catch_all: who gets the mail of addresses that do not exist otherwise; "" for nobody.
    """

    users: list[str] = field(default_factory=lambda: [_EVERYBODY])
    catch_all: str = ""


@dataclass(frozen=True, slots=True)
class LocalRecipientsSettings:
    """Who exists here.

    Args:
        domains: the domains; ``.example.com`` means that domain and all below it. The first one is postmaster's own.
        delimiter: what separates a user's name from what he adds to it, as in ``alice+lists``; "" for nothing.
    """

    domains: dict[str, DomainRecipients]
    delimiter: str = "+"


class _Domain:
    """One domain, as it is asked about."""

    def __init__(self, recipients: DomainRecipients) -> None:
        self.everybody = _EVERYBODY in recipients.users
        self.catch_all = Address.parse(recipients.catch_all) if recipients.catch_all else None
        self._names = frozenset(name.lower() for name in recipients.users)

    def has(self, address: Address, delimiter: str) -> bool:
        """Whether the recipient exists; postmaster always does (RFC 5321 §4.5.1)."""
        local = address.local.lower()
        if self.everybody or local in self._names:
            return True
        if delimiter:
            local = local.partition(delimiter)[0]
        return local in self._names or local == "postmaster"


def _domains(settings: LocalRecipientsSettings) -> DomainTable[_Domain]:
    values: Mapping[str, _Domain] = {domain: _Domain(recipients) for domain, recipients in settings.domains.items()}
    return DomainTable(values)


class LocalRecipients(Sink[LocalRecipientsSettings]):
    """Refuses recipients of its domains that do not exist; postmaster exists in each.

    Whom a directory that was asked before knows exists too. A recipient elsewhere is none of its business. A bare ``postmaster`` becomes
    the postmaster of the first domain, since the address "MUST be accepted" without a domain too (RFC 5321 §4.5.1).

    Raises: ValueError for a domain that is none.
    """

    def __init__(self, settings: LocalRecipientsSettings) -> None:
        super().__init__(settings)
        self._domains = _domains(settings)
        self._home = next((domain.lower().lstrip(".") for domain in settings.domains), "")

    @on(RcptTo, blocking=False)
    def check(self, event: RcptTo) -> Reject | Rewrite | None:
        """Goes on when the recipient exists or is not ours."""
        address = event.recipient.address
        if not address.domain:
            return Rewrite(address.with_domain(self._home)) if self._home else None
        domain = self._domains.find(address.domain)
        if domain is None or domain.catch_all is not None or domain.has(address, self.settings.delimiter) or is_known(event):
            return None
        return _UNKNOWN


class UnknownRecipients(Sink[LocalRecipientsSettings]):
    """Fails recipients that no directory decided and that do not exist, or sends their mail to the domain's catch-all.

    This is for mail that did not come by SMTP, and for what aliases and lists lead to: at RCPT LocalRecipients says the same. It is bound
    after all directories.

    Raises: ValueError for a domain that is none; AddressError for a catch-all that is no address.
    """

    def __init__(self, settings: LocalRecipientsSettings) -> None:
        super().__init__(settings)
        self._domains = _domains(settings)

    @on(Resolve, blocking=False)
    def resolve(self, event: Resolve) -> None:
        """Decides what nobody else did."""
        for item in event.open:
            if item.kind == "recipient":
                self._decide(item)

    def _decide(self, item: Item) -> None:
        domain = self._domains.find(item.address.domain)
        if domain is None or domain.has(item.address, self.settings.delimiter):
            return
        if domain.catch_all is None:
            item.fail("5.1.1", "The address does not exist")
        elif domain.catch_all == item.address:
            # It exists because it is named.
            item.resolve()
        else:
            item.forward([domain.catch_all])
