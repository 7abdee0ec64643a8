"""The tables within a ``[[binding]]`` that keep it under control: breaker, canary, process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..events.plug import BreakerSettings, CanarySettings, ProcessSettings
from .values import Duration, Percent, Size


@dataclass(slots=True)
class Breaker:
    """``breaker = { failures = 10, rest = "30s", longest = "10m" }``.

    Args:
        failures: in a row, after which the binding is left alone; 0 for never.
        rest: for how long, the first time; it doubles with each further time.
        longest: the longest rest.
    """

    failures: int = 10
    rest: Duration = Duration(30)
    longest: Duration = Duration(600)

    def settings(self) -> BreakerSettings:
        """As the dispatcher takes it."""
        return BreakerSettings(self.failures, float(self.rest), float(self.longest))


@dataclass(slots=True)
class Canary:
    """``canary = "5%"``, or ``canary = { percent = "5%", replaces = "old" }``.

    Args:
        percent: of messages or sessions.
        replaces: the binding that is asked about the rest, and is not about these; "" for none.
        sticky: "message" or "session": what stays with its choice.
        most_errors: percent of its calls that may fail.
        slowest: how long its calls may take in the mean.
        most_rejects: percentage points by which it may refuse more than the binding that it replaces.
        after: calls before it is judged.
    """

    percent: Percent
    replaces: str = ""
    sticky: Literal["message", "session"] = "message"
    most_errors: Percent = Percent(5)
    slowest: Duration = Duration(5)
    most_rejects: Percent = Percent(20)
    after: int = 50

    def settings(self) -> CanarySettings:
        """As the dispatcher takes it."""
        return CanarySettings(
            float(self.percent),
            self.replaces,
            self.sticky,
            float(self.most_errors),
            float(self.slowest),
            float(self.most_rejects),
            self.after,
        )


@dataclass(slots=True)
class Process:
    """``process = { processes = 1, memory = "512 MiB", cpu = 0 }``, with ``run_in = "process"``.

    Args:
        processes: how many there are for each worker.
        memory: address space of each; 0 for no limit.
        cpu: CPU time of one call; 0 for no limit but its deadline.
    """

    processes: int = 1
    memory: Size = Size(512 * 1024 * 1024)
    cpu: Duration = Duration(0)

    def settings(self) -> ProcessSettings:
        """As the isolation takes it."""
        return ProcessSettings(self.processes, int(self.memory), float(self.cpu))
