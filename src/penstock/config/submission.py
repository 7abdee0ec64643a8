"""What ``[submission]`` means: the binding of the sink that ships and carries it out, and what could never work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..errors import AddressError, ConfigError
from ..events.plug import BUILT_IN
from ..events.rule import Match
from ..mail.address import Address
from .schema import BindingTable, Config
from .values import Duration

SERVICES = ("submission", "submissions")
# Without these it would be no message any more, or no trace of where it was.
_NEEDED = frozenset(["from", "date", "message-id", "received", "return-path", "sender"])
_NAME = re.compile(r"[!-9;-~]{1,76}")


def submission_bindings(config: Config) -> Iterator[tuple[BindingTable, str]]:
    """The binding for mail of our users, with its key; none where nobody could log in."""
    if not config.auth.stores and not any(listener.service in SERVICES for listener in config.listeners):
        return
    table = config.submission
    rights: dict[str, Any] = {
        "senders": table.senders,
        "file": str(config.resolve(table.senders_file)) if table.senders_file is not None else None,
        "domain": table.domain or _only_domain(config),
        "delimiter": config.server.recipient_delimiter,
    }
    settings = {
        "rights": rights,
        "add_missing": table.add_missing,
        "drop_fields": table.drop_fields,
        "check_from": table.check_from,
        "null_sender": table.null_sender,
    }
    # At any listener: a user who logs in at port 25 has the same rights as at port 587.
    match = Match(authenticated=True)
    sink = "penstock.sinks.submission:Submitted"
    yield BindingTable("submission", sink, priority=BUILT_IN, match=match, settings=settings, timeout=Duration(60)), "submission"


def _only_domain(config: Config) -> str:
    """Whose users have names without a domain; where there are two, ``alice`` may be somebody else in the other."""
    local = [name for name, table in config.domains.items() if table.kind == "local" and not name.startswith(".") and "*" not in name]
    return local[0] if len(local) == 1 else ""


def check_submission(config: Config, place: str) -> None:
    """Refuses what could never work. Raises ConfigError."""
    table = config.submission
    for name in table.drop_fields:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{place}.drop_fields", f"{name!r} is no name of a header field")
        if name.lower() in _NEEDED:
            raise ConfigError(f"{place}.drop_fields", f"{name} cannot be taken out", "a message needs it, or others need it to find loops")
    if table.domain:
        try:
            Address.parse(f"postmaster@{table.domain}")
        except AddressError as error:
            raise ConfigError(f"{place}.domain", str(error), "write a domain such as 'example.com'") from None
