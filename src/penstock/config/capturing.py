"""The table ``[capture]``: sessions that are written down, to be run again through other bindings."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..capture.moment import Moment
from ..capture.redact import Redaction
from ..capture.settings import CaptureSettings
from ..errors import ConfigError
from ..events.rule import Match
from .values import Duration, Size

if TYPE_CHECKING:
    from .schema import Config


@dataclass(slots=True)
class CaptureTable:
    """``[capture]``.

    Args:
        enabled: true to write down sessions.
        folder: where, one file a worker.
        match: conditions that one of a session's commands must meet; none for all sessions.
        bodies: "fill" puts filler with the same length, lines and MIME parts in their place, "drop" leaves them out, "keep" keeps them.
        hide: header fields whose values become filler.
        addresses: "pseudonyms" puts the same made-up local part in the place of the same address, and keeps domains; "keep" keeps them.
        answers: true to keep what clients answered to sinks of new verbs, and those verbs' arguments; never what they say to AUTH.
        size: octets that a worker's file may have; then nothing more is written down until it is moved away and the server reloaded.
        content: octets of a message that are kept; of the rest only how many there were.
        session: octets of a session that are kept.
        memory: octets that the sessions under way may hold together in a worker.
        time: for how long sessions are written down, from the start or the reload that began it; 0 for as long as the server runs.
    """

    enabled: bool = False
    folder: Path = Path("penstock-data/captures")
    match: Match | None = None
    bodies: Literal["fill", "drop", "keep"] = "fill"
    hide: list[str] = field(default_factory=list)
    addresses: Literal["keep", "pseudonyms"] = "keep"
    answers: bool = False
    size: Size = Size(100 * 1024 * 1024)
    content: Size = Size(1024 * 1024)
    session: Size = Size(4 * 1024 * 1024)
    memory: Size = Size(64 * 1024 * 1024)
    time: Duration = Duration(0)


def check_capture(table: CaptureTable, place: str) -> None:
    """Raises ConfigError for conditions that no session could meet."""
    try:
        Moment.of(table.match)
    except ConfigError as error:
        raise ConfigError(f"{place}: capture.match", error.what, error.hint) from None


def capture_settings(config: Config, worker: int) -> CaptureSettings | None:
    """How a worker captures; None when it does not.

    Args:
        config: the configuration.
        worker: its number.
    """
    table = config.capture
    if not table.enabled:
        return None
    hide = frozenset(name.strip().lower().encode("latin-1", "replace") for name in table.hide)
    return CaptureSettings(
        config.resolve(table.folder) / f"worker-{worker}.jsonl",
        table.match,
        Redaction(table.bodies, hide, table.addresses == "pseudonyms", table.answers),
        size=int(table.size),
        content=int(table.content),
        session=int(table.session),
        under_way=int(table.memory),
        until=time.time() + float(table.time) if table.time else 0.0,
    )
