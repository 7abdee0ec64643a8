"""``[limits]``: what a client may cost; part of the schema, apart for the length of the file.

A listener may have other limits than the rest: the same keys in its ``limits``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from typing import Literal

from ..errors import ConfigError
from ..queue.meters import Budget
from .values import Allowance, Duration, Size

NO_LIMIT = Allowance("")


@dataclass(slots=True)
class LimitsTable:
    """``[limits]``, for each worker.

    Args:
        message_size: octets of one message.
        recipients: recipients of one message.
        errors: commands in error after which a session is ended; 0 for never.
        messages_per_session: messages in one session; 0 for unlimited.
        connections: sessions at the same time.
        connections_per_client: of these, from one address.
        idle: how long a client may wait with its next command.
        command: how long it may take to send one command line.
        data: how long it may pause within content.
        message: how long one content may take in all.
        hops: Received fields at which a message is taken to loop.
        idle_commands: commands without a message after which a session is ended; 0 for never.
        connections_per_network: sessions at the same time from one network (a /24, of IPv6 a /48); 0 for any number.
        unknown_recipients: recipients that do not exist, after which a session is ended; 0 for never.
        client_connections: new sessions of one address, such as "30/min"; "" for any number, as with all that follow.
        network_connections: new sessions of one network.
        client_messages: messages of one address, of clients that have not logged in.
        network_messages: messages of one network, of such clients.
        client_recipients: recipients of one address, of such clients.
        client_unknown: recipients that do not exist, of one address, before its sessions are ended.
        user_messages: messages of one user who has logged in, wherever from.
        user_recipients: recipients of one user.
        sender_messages: messages with one sender address, whoever sends them.
        exempt: addresses and networks of clients that none of these rates counts, nor unknown recipients.
        banner_delay: how long a new client waits for the banner; those who do not wait are turned away.
        deliver_by: times below this are not taken by DELIVERBY, since nobody could keep them.
        future_release: how long FUTURERELEASE may hold mail of users who submit it; 0 for not at all.
        early_talkers: "refuse" those who talk before the banner, when that can be seen, or "allow" it.
    """

    message_size: Size = Size(25 * 1024 * 1024)
    recipients: int = 1000
    errors: int = 20
    messages_per_session: int = 0
    connections: int = 10_000
    connections_per_client: int = 50
    idle: Duration = Duration(300)
    command: Duration = Duration(300)
    data: Duration = Duration(300)
    message: Duration = Duration(3600)
    hops: int = 50
    idle_commands: int = 1000
    connections_per_network: int = 0
    unknown_recipients: int = 100
    client_connections: Allowance = NO_LIMIT
    network_connections: Allowance = NO_LIMIT
    client_messages: Allowance = NO_LIMIT
    network_messages: Allowance = NO_LIMIT
    client_recipients: Allowance = NO_LIMIT
    client_unknown: Allowance = NO_LIMIT
    user_messages: Allowance = NO_LIMIT
    user_recipients: Allowance = NO_LIMIT
    sender_messages: Allowance = NO_LIMIT
    exempt: list[str] = field(default_factory=list)
    banner_delay: Duration = Duration(0)
    deliver_by: Duration = Duration(0)
    future_release: Duration = Duration(7 * 86400)
    early_talkers: Literal["refuse", "allow"] = "refuse"

    @property
    def rates(self) -> dict[str, Budget]:
        """What may happen how often, by the name of the key; only what is limited."""
        return {f.name: found.budget for f in fields(self) if isinstance(found := getattr(self, f.name), Allowance) and found}


def check_limits(limits: LimitsTable, place: str) -> None:
    """A limit that nothing could pass is a slip of the pen; 0 means unlimited only where the table says so. Raises ConfigError."""
    for name in ("message_size", "recipients", "connections", "connections_per_client", "idle", "command", "data", "message", "hops"):
        if getattr(limits, name) <= 0:
            raise ConfigError(f"{place}.{name}", "it is above 0", "leave it out for the default")
    for name in ("errors", "messages_per_session", "idle_commands", "connections_per_network", "unknown_recipients"):
        if getattr(limits, name) < 0:
            raise ConfigError(f"{place}.{name}", "it is not below 0", "0 is unlimited")
    for name, budget in limits.rates.items():
        if not budget.count:
            raise ConfigError(f"{place}.{name}", "nothing could pass", "leave it out for any number")
    if limits.banner_delay >= min(limits.idle, 300):
        # RFC 5321 §4.5.3.2.1: clients wait 5 minutes for the banner; those that people have wait 30 s or so.
        raise ConfigError(f"{place}.banner_delay", "clients would give up before", "a few seconds are enough")
    check_networks(limits.exempt, f"{place}.exempt")


def check_networks(networks: list[str], where: str) -> None:
    """Refuses what is neither an address nor a network. Raises ConfigError."""
    for text in networks:
        try:
            ip_network(text, strict=False)
        except ValueError:
            raise ConfigError(where, f"{text!r} is neither an address nor a network", "write '192.0.2.1' or '192.0.2.0/24'") from None
