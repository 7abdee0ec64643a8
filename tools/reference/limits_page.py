"""The page of limits: every number that bounds what a stranger, a remote server or a sink can cost, from the code that keeps it.

What the RFC asks for and who has a like number stands in the docstrings, beside the number itself, so that nobody changes one without the
other. A class of limits that is not listed here is found by a test.
"""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import Any

from penstock.admin.control import ControlSettings
from penstock.delivery import downgrade
from penstock.delivery.resolver import ResolverSettings
from penstock.delivery.settings import HopLimits, HopTimeouts
from penstock.events import message, parsing, views
from penstock.hosts.smtp import connection, guessing, transaction
from penstock.hosts.smtp.guard import GuardSettings, Rates
from penstock.hosts.smtp.guessing import GuessLimits
from penstock.hosts.smtp.host import SessionLimits
from penstock.hosts.smtp.intake import Memory
from penstock.isolation import frames
from penstock.queue.limits import DestinationLimits
from penstock.queue.meters import MOST_KEYS, Budget
from penstock.transport import judge
from penstock.wire.sasl import scram, scram_client
from penstock.wire.smtp.client_settings import ClientLimits, Timeouts
from penstock.wire.smtp.limits import Limits

from .words import HERE, arguments, default, said, section, shown, table

NAME = "limits.md"
PARTS: dict[str, type[Any]] = {
    "One session, as the protocol goes": Limits,
    "Sessions and their times": SessionLimits,
    "What a listener bears": GuardSettings,
    "Rates": Rates,
    "Failed logins": GuessLimits,
    "Memory of contents that come in": Memory,
    "What other servers can make us keep": ClientLimits,
    "How long other servers are waited for, at each answer": Timeouts,
    "How long other servers are waited for, in all": HopTimeouts,
    "How much other servers are given": HopLimits,
    "One queue": DestinationLimits,
    "DNS": ResolverSettings,
    "The control socket": ControlSettings,
}


# Those that nobody sets.
FIXED = {
    "octets of commands that wait unparsed before a client is not read from": connection.MAX_PENDING,
    "octets of a content whose header is looked at before it is complete": transaction.LOOKED_AT,
    "parts of a message that a sink parses; more is refused": parsing.MOST_PARTS,
    "levels of parts within parts, the same": parsing.MOST_LEVELS,
    "octets of a message that is converted to 7 bits for another server": downgrade.MOST,
    "octets of what a sink process and the server say at once": frames.MOST_FRAME,
    "octets of a message in an authentication exchange": scram.MOST_MESSAGE,
    "iterations that a server may ask of us in SCRAM": scram_client.MOST_ITERATIONS,
    "addresses, networks, users and senders that rates are remembered of": MOST_KEYS,
    "clients whose failed logins are remembered": guessing.MOST_REMEMBERED,
    "submissions of a sink that lead to one another": views.MAX_GENERATION,
    "copies of copies of one message": message.MAX_DEPTH,
    "times that a message is forwarded, or rerouted": judge.MAX_FORWARDS,
}


def page() -> dict[str, str]:
    """The page, by its path."""
    parts = ["# Limits\n", HERE]
    parts.append(
        "Every number that bounds what others can cost: its default, what it bounds, what the RFC asks for where it does, and "
        "who has a like number.\nThose of listeners are set in [`[limits]`](settings/limits.md), for one listener in its "
        "`limits`; those of deliveries in [`[delivery]`](settings/delivery.md) and routes.\n"
    )
    for title, cls in PARTS.items():
        parts += [f"## {title}\n", said(cls) + "\n", table(("limit", "default", "what it bounds"), _rows(cls))]
        if section(cls, "Source"):
            parts.append(f"Source: {section(cls, 'Source')}\n")
    fixed = [(f"`{number}`", what) for what, number in FIXED.items()]
    parts += ["## Fixed\n", "Those that nobody sets.\n", table(("number", "what it bounds"), fixed)]
    return {NAME: "\n".join(parts)}


def _rows(cls: type[Any]) -> list[tuple[str, str, str]]:
    told = arguments(cls)
    if is_dataclass(cls):
        return [
            (f"`{one.name}`", _number(default(one)), told.get(one.name, "").replace("|", "\\|"))
            for one in fields(cls)
            if _is_limit(one.default)
        ]
    given = inspect.signature(cls).parameters.values()
    return [(f"`{one.name}`", shown(one.default), told.get(one.name, "")) for one in given if _is_limit(one.default)]


def _number(text: str) -> str:
    return "none" if text.startswith("`Budget(") else text


def _is_limit(value: object) -> bool:
    return (isinstance(value, int | float) and not isinstance(value, bool)) or isinstance(value, Budget)
