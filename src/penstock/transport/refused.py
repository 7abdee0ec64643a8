"""Recipients that were refused when the client could no longer be told: they are kept with the message, and the sender hears by a DSN.

As a route of the recipient's own, which is part of the record: so the refusal becomes durable together with the message, and a crash
between the 250 and the DSN forgets nobody. Postfix calls such a route ``error:``, too.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..mail.envelope import Recipient

_PREFIX = "error:"


def refused_route(status: str, text: str) -> str:
    """The route of a recipient that was refused with this enhanced status code and text."""
    return f"{_PREFIX}{status} {text}"


def refusal_of(route: str) -> tuple[str, str] | None:
    """The status code and the text of a refusal; None for any other route."""
    if not route.startswith(_PREFIX):
        return None
    status, _, text = route.removeprefix(_PREFIX).partition(" ")
    return status, text


def has_refused(recipients: Iterable[Recipient]) -> bool:
    """Whether one of them was refused."""
    return any(recipient.route.startswith(_PREFIX) for recipient in recipients)
