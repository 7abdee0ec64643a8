"""What one client, network, user or sender may do in a time, counted for a whole worker, and what it hears when that is enough.

Who has logged in is counted as that user and not by his address: offices and mobile networks have one address for many. What is said is
always temporary, since it will be over, and never how much of what is left: a stranger learns when to come back from his own refusals.
Clients that talk before the banner are turned away: no mail server does that (Exim calls it a synchronization error).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from ...events import verdict as v
from ...events.dispatch import Outcome
from ...queue.meters import Budget, Meters
from .trust import within

if TYPE_CHECKING:
    from ...events.work import SessionWork

NO_LIMIT = Budget(0, 1)
_CONNECTIONS = "Too many connections from your address"
_NEIGHBOURS = "Too many connections from your network"
_MESSAGES = v.Defer(450, "4.7.1", "Too many messages for now, please try again later")
_RECIPIENTS = v.Defer(450, "4.7.1", "Too many recipients for now, please try again later")
_UNKNOWN = v.Disconnect(421, "4.7.0", "Too many unknown recipients, closing the connection")
EARLY = v.Disconnect(554, "5.5.1", "You talk before it is your turn")


@dataclass(frozen=True, slots=True)
class Rates:
    """How much of what in which time; each for one client (an address, or the /64 of IPv6), network (/24, /48), user or sender.

    Args:
        client_connections, network_connections: new sessions.
        client_messages, network_messages: MAIL commands of clients that have not logged in.
        client_recipients: RCPT commands of such.
        client_unknown: recipients of theirs that do not exist.
        user_messages, user_recipients: of a user that has logged in, wherever from.
        sender_messages: MAIL commands with one address, whoever sends them; the null address is nobody's.
    """

    client_connections: Budget = NO_LIMIT
    network_connections: Budget = NO_LIMIT
    client_messages: Budget = NO_LIMIT
    network_messages: Budget = NO_LIMIT
    client_recipients: Budget = NO_LIMIT
    client_unknown: Budget = NO_LIMIT
    user_messages: Budget = NO_LIMIT
    user_recipients: Budget = NO_LIMIT
    sender_messages: Budget = NO_LIMIT


# The same object wherever nothing is limited, so that it costs nothing.
NO_RATES = Rates()


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """How a listener protects itself.

    Args:
        rates: how much of what in which time.
        exempt: clients that are not counted.
        connections_per_network: sessions at the same time from one network (/24, /48); 0 for any number.
        unknown_recipients: recipients of one session that do not exist, after which it is ended; 0 for any number. 100: Postfix ends a
            session after 20 errors of any kind, but lists with dead members are honest.
        banner_delay: seconds to wait with the banner; who speaks before it is an early talker.
        early_talkers: clients that talk before the banner, when that can be seen, are refused.
    """

    rates: Rates = field(default=NO_RATES)
    exempt: tuple[IPv4Network | IPv6Network, ...] = ()
    connections_per_network: int = 0
    unknown_recipients: int = 100
    banner_delay: float = 0.0
    early_talkers: bool = True


@lru_cache(maxsize=4096)
def network_of(client: str) -> str:
    """The network of a client as it is counted (an address, or a /64): a /24, or a /48, as one customer has it."""
    try:
        found = ip_network(client)
    except ValueError:  # no address at all, as tests and sockets of this machine have it
        return client
    return str(found.supernet(new_prefix=24 if found.version == 4 else 48))


def is_unknown(outcome: Outcome) -> bool:
    """Whether a recipient was refused since it does not exist (RFC 3463 §3.2: 5.1.1, and 5.1.6 for one that has moved)."""
    verdict = outcome.verdict
    return isinstance(verdict, v.Reject) and verdict.reply.enhanced in ("5.1.1", "5.1.6")


class Guard:
    """Counts for a worker."""

    def __init__(self) -> None:
        self.meters = Meters()

    def connection(self, client: str, settings: GuardSettings) -> str:
        """Counts a new session; why it may not be, or "".

        Args:
            client: as sessions are counted by it.
            settings: of the listener.
        """
        rates = settings.rates
        if not client or within(client.partition("/")[0], settings.exempt):
            return ""
        if not self.meters.take(("connections", client), rates.client_connections):
            return _CONNECTIONS
        if rates.network_connections.count and not self.meters.take(("net", network_of(client)), rates.network_connections):
            return _NEIGHBOURS
        return ""

    def message(self, client: str, work: SessionWork, sender: str, settings: GuardSettings) -> Outcome | None:
        """Counts a MAIL; the refusal when there were too many."""
        rates = settings.rates
        if rates is NO_RATES:
            return None
        keys = [(("sender", sender), rates.sender_messages)] if sender else []
        if work.user:
            keys.append((("user", work.user), rates.user_messages))
        elif client and not within(work.client_ip, settings.exempt):
            keys.append((("client", client), rates.client_messages))
            if rates.network_messages.count:
                keys.append((("network", network_of(client)), rates.network_messages))
        # All of them count it, also when one is at its end.
        refused = [key for key, budget in keys if not self.meters.take(("messages", *key), budget)]
        return Outcome(_MESSAGES, "server") if refused else None

    def recipient(self, client: str, work: SessionWork, settings: GuardSettings) -> Outcome | None:
        """Counts a RCPT; the refusal when there were too many."""
        rates = settings.rates
        if rates is NO_RATES:
            return None
        if work.user:
            taken = self.meters.take(("recipients", "user", work.user), rates.user_recipients)
        elif client and not within(work.client_ip, settings.exempt):
            taken = self.meters.take(("recipients", "client", client), rates.client_recipients)
        else:
            taken = True
        return None if taken else Outcome(_RECIPIENTS, "server")

    def unknown(self, client: str, work: SessionWork, settings: GuardSettings, count: int) -> Outcome | None:
        """Counts a recipient that does not exist, of which the session has had so many; the end of the session when that is enough.

        Who goes through all names of a domain collects addresses for spam.
        """
        if work.user or within(work.client_ip, settings.exempt):
            return None
        most = settings.unknown_recipients
        taken = not client or self.meters.take(("unknown", client), settings.rates.client_unknown)
        return Outcome(_UNKNOWN, "server") if not taken or 0 < most < count else None
