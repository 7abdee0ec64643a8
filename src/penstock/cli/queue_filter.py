"""Makes the filter of a question from the words of a command line, and the canonical name of a queue from what people write."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ..admin.protocol import MAX_PAGE, Filter
from ..config.values import Duration, Size
from ..mail.nexthop import NextHop
from ..transport.stage import Stage
from .exits import EX_USAGE, Stop

if TYPE_CHECKING:
    from .queue import Words

Number = TypeVar("Number", int, float)


def make_filter(words: Words) -> Filter:
    """The filter; only what is in the spool now is meant. Raises Stop."""
    ids = [text.upper() for text in words.ids or []]
    if len(ids) > MAX_PAGE:
        raise Stop(EX_USAGE, f"{len(ids)} ids are more than the {MAX_PAGE} that one command takes", "use conditions, or several commands")
    return Filter(
        ids=ids,
        queue=queue_name(words.queue) if words.queue else "",
        sender=words.sender,
        recipient=words.recipient,
        older_than=_value("--older-than", words.older, _seconds),
        younger_than=_value("--younger-than", words.younger, _seconds),
        held=words.held,
        stage=_stage(words.stage),
        reason=words.reason,
        larger=_value("--larger-than", words.larger, _octets),
        smaller=_value("--smaller-than", words.smaller, _octets),
        until=time.time(),
    )


def _stage(text: str) -> str:
    names = [stage.value for stage in Stage]
    if text and text.lower() not in names:
        raise Stop(EX_USAGE, f"--stage: there is no stage {text!r}", f"there are: {', '.join(names)}")
    return text.lower()


def queue_name(text: str) -> str:
    """The name of a queue: a pattern as it is, a domain or next hop in the one way in which it is written."""
    if any(c in text for c in "*?") or text.startswith("local"):
        return text
    try:
        hop, message_class = NextHop.of_queue(text)
    except ValueError:
        return text
    return hop.queue(message_class)


def duration(option: str, text: str) -> float | None:
    """Seconds, or None for no text. Raises Stop."""
    return _value(option, text, _seconds)


def _seconds(text: str) -> float:
    return float(Duration.parse(text))


def _octets(text: str) -> int:
    return int(Size.parse(text))


def _value(option: str, text: str, parse: Callable[[str], Number]) -> Number | None:
    if not text:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise Stop(EX_USAGE, f"{option}: {error}") from None
