"""The table ``[trace]``: which mail leaves a trace of what every binding was asked and said, and how much of that is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..events.recording import RecordingSettings, check_match
from ..events.rule import Match
from ..observe.traces import TraceSettings
from .values import Duration, Percent, Rate, Size

if TYPE_CHECKING:
    from .schema import Config


@dataclass(slots=True)
class TraceTable:
    """``[trace]``, for each worker.

    Args:
        sample: the part of sessions that is traced, with their messages; of messages where there is no session. 0 for none.
        rate: of these, so many at most; above it, further ones are not traced. 0 for any number.
        match: conditions; what meets them is traced in any case, beside the sample.
        folder: where traces are kept, one sub-folder a worker.
        size: octets of all traces of a worker; the oldest go first.
        age: for how long they are kept.
        entries: of one message, and of one session.
        entry: octets of one event's entry.
    """

    sample: Percent = Percent(100)
    rate: Rate = Rate(10)
    match: Match | None = None
    folder: Path = Path("penstock-data/traces")
    size: Size = Size(64 * 1024 * 1024)
    age: Duration = Duration(7 * 86400)
    entries: int = 500
    entry: Size = Size(16 * 1024)

    def recording(self) -> RecordingSettings:
        """What is traced."""
        return RecordingSettings(float(self.sample), float(self.rate), self.match, self.entries)


def trace_settings(config: Config, worker: str) -> TraceSettings:
    """How much is kept of a worker's traces, and where."""
    table = config.trace
    return TraceSettings(config.resolve(table.folder) / worker, int(table.size), float(table.age), int(table.entry))


def check_trace(table: TraceTable, place: str) -> None:
    """Raises ConfigError for conditions that nothing could meet, and for sizes without room for anything."""
    if table.match is not None:
        try:
            check_match(table.match)
        except ValueError as error:
            raise ConfigError(f"{place}: trace.match", str(error)) from None
    if table.entry < 1024:
        raise ConfigError(f"{place}: trace.entry", "an event needs more room", "give it at least 1 KiB")
    if table.size < 16 * table.entry:
        raise ConfigError(f"{place}: trace.size", "there is no room for traces", "give at least 16 times what 'trace.entry' says")
    if table.age <= 0 or table.entries < 2:
        key, least = ("age", "a minute") if table.age <= 0 else ("entries", "2")
        raise ConfigError(f"{place}: trace.{key}", "that would keep nothing", f"give at least {least}, or set 'trace.sample' to 0")
