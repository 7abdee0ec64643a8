"""From ``[auth]`` and what is bound to a listener's logins: which mechanisms it offers, and what they cost who guesses.

A mechanism that a store cannot serve must not be offered: clients choose the best one that they see, and do not try another when it fails.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..config import Config
from ..config.authenticating import AuthTable
from ..config.listening import ListenerTable
from ..events.binding import Bindings
from ..events.catalog import Credentials
from ..hosts.smtp.guessing import GuessLimits
from ..hosts.smtp.login import AuthServing
from ..wire.sasl.mechanisms import DEFAULT

_PASSWORD = frozenset({"password"})
# What each mechanism asks its stores; a mechanism that is not here asks for SCRAM keys.
_ASKS = {
    "PLAIN": "password",
    "LOGIN": "password",
    "CRAM-MD5": "secret",
    "OAUTHBEARER": "token",
    "XOAUTH2": "token",
    "EXTERNAL": "certificate",
}
_SERVICES = ("submission", "submissions")


def auth_serving(config: Config, listener: ListenerTable, bindings: Bindings) -> AuthServing:
    """What a listener does with AUTH."""
    table = config.auth
    return AuthServing(
        mechanisms=offered(table, bindings),
        required=listener.service in _SERVICES,
        in_clear=table.without_tls,
        guesses=_guesses(table),
        pepper=_pepper(config.server.hostname),
    )


def offered(table: AuthTable, bindings: Bindings) -> tuple[str, ...]:
    """The mechanisms that ship and are offered, in order of preference.

    Those that the table names, or else: PLAIN and LOGIN where a store knows passwords, SCRAM where all that do know keys too, bearer
    tokens and certificates where a store knows them. CRAM-MD5 is never offered by itself (RFC 2195 is from 1997).
    """
    kinds = list(_kinds(bindings))
    if not kinds:
        return ()
    if table.mechanisms:
        return tuple(dict.fromkeys(name.upper() for name in table.mechanisms))
    known = frozenset().union(*kinds)
    with_passwords = [each for each in kinds if "password" in each or "keys" in each]
    if not all("keys" in each for each in with_passwords):
        known -= {"keys"}
    return tuple(name for name in DEFAULT if _ASKS.get(name, "keys") in known)


def _kinds(bindings: Bindings) -> Iterator[frozenset[str]]:
    """What each store knows, as its class says in ``kinds``; who says nothing knows passwords."""
    for sink in {id(binding.plug.sink): binding.plug.sink for binding in bindings.chain(Credentials)}.values():
        yield frozenset(getattr(sink, "kinds", _PASSWORD))


def _guesses(table: AuthTable) -> GuessLimits:
    return GuessLimits(
        float(table.delay), float(table.longest_delay), float(table.window),
        table.failures_per_session, table.failures_per_client, table.failures_per_user, table.waiting,
    )  # fmt: skip


@cache
def _pepper(hostname: str) -> bytes:
    """A secret that all workers know, and after a restart, too: from the identity of the machine, which is not to be told to others."""
    try:
        identity = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        identity = b""
    return hmac.digest(identity or secrets.token_bytes(32), f"penstock scram {hostname}".encode(), "sha256")
