"""The question about a worker's tracing, and its answer.

Traces themselves are read from their files, by whoever may read those: they are there without a server too, and of workers that there are
no longer. The worker is only asked to write down what it has, and to trace more or less for a while.
"""

from __future__ import annotations

from typing import Any, Literal

from .line import Answer, Question

TracingOp = Literal["ask", "on", "off", "reset"]


class AskTracing(Question, frozen=True, tag="tracing"):
    """Writes down what was traced so far, and may change what is traced from now on: a ``TracingRow``.

    Args:
        action: "on" traces what meets ``match`` beside what the configuration says, "off" nothing at all, "reset" what the configuration
            says; "ask" changes nothing.
        match: with "on", conditions as in ``[trace]``; empty for everything.
        seconds: with "on", for how long; None until it is changed.
    """

    action: TracingOp = "ask"
    match: dict[str, Any] = {}
    seconds: float | None = None


class TracingRow(Answer, frozen=True, tag="tracing", kw_only=True):
    """What a worker traces.

    Args:
        worker: its name.
        active: whether it traces anything.
        ordered: whether an administrator ordered that just now, or stopped it.
        left: seconds until such an order ends; None for no end.
        sample: percent, as configured.
        rate: sessions a second, as configured; 0 for any number.
        written: entries since it was started.
        dropped: entries that were not written, since the disk was too slow or failed.
    """

    worker: str
    active: bool
    ordered: bool = False
    left: float | None = None
    sample: float = 0.0
    rate: float = 0.0
    written: int = 0
    dropped: int = 0
