"""``[auth]``: how users prove who they are; part of the schema, apart for the length of the file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class AuthTable:
    """``[auth]``.

    Args:
        stores: where users are known, asked in this order: ``file:PATH``, ``sqlite:PATH``, ``postgresql://...``, ``ldap://...``,
            ``pam:SERVICE``, ``dovecot:/SOCKET``. AUTH is offered when there is one, or a sink is bound to ``Credentials``.
    """

    stores: list[str] = field(default_factory=list)
