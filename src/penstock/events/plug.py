"""A binding as an administrator sees it: a sink, how it is bound, where that is written, and how it fares.

A ``Plug`` never changes; a reload makes new ones. What must outlive a reload (counters, breaker, firings, how a canary does) is in its
``Standing``, which the next generation's plug of the same name takes over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .rule import Match

if TYPE_CHECKING:
    from .running import Remote
    from .sink import Sink

OnError = Literal["defer", "reject", "continue"]
RunIn = Literal["", "loop", "thread", "process"]
PlugMode = Literal["active", "shadow"]
Sticky = Literal["message", "session"]
BUILT_IN, DEFAULT, LAST = 16384, 24575, 32767


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a binding that keeps failing is left alone.

    Args:
        failures: in a row, until it opens; 0 for never.
        rest: seconds that it stays open the first time; each time that it fails again at once the rest doubles.
        longest: seconds that it rests at most.
    """

    failures: int = 10
    rest: float = 30.0
    longest: float = 600.0


@dataclass(frozen=True, slots=True)
class CanarySettings:
    """A binding that is tried on a part of the traffic.

    Args:
        percent: of messages or sessions, chosen by their id.
        replaces: the name of the binding that is asked about the rest, and is not about these; "" for none.
        sticky: what stays with its choice.
        most_errors: percent of its calls that may fail.
        slowest: seconds that its calls may take in the mean.
        most_rejects: percentage points by which it may refuse more than the binding that it replaces.
        after: calls before it is judged.
    """

    percent: float
    replaces: str = ""
    sticky: Sticky = "message"
    most_errors: float = 5.0
    slowest: float = 5.0
    most_rejects: float = 20.0
    after: int = 50


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What a sink process may take (``run_in = "process"``).

    Args:
        processes: how many there are for each worker.
        memory: octets of address space; 0 for no limit.
        cpu: seconds of CPU time that one call may take; 0 for no limit but its deadline.
    """

    processes: int = 1
    memory: int = 512 * 1024 * 1024
    cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a binding comes from.

    Args:
        source: a file and table, the name of an installed package, "built-in", or "live".
        by: who changed it last while the server ran; "" for nobody.
        at: when, in seconds since 1970; 0 when nobody did.
    """

    source: str = ""
    by: str = ""
    at: float = 0.0


@dataclass(slots=True)
class Counters:
    """What a binding did: times asked, times its conditions held, verdicts, errors, and seconds spent in its handler.

    ``asked`` are the events at which its turn came: no binding before it had the last word. It counts whether its conditions were tried, or
    an index knew at once that they could not hold; so 0 means that its event never happened (or that others always settled it), and
    ``matched`` at 0 beside it that its conditions never held.

    ``late`` are the calls that run on after their deadline just now, ``waiting`` the reports that wait to be told, and ``dropped`` those
    that were not told since too many waited. ``refused`` are calls that were not made: breaker open, firings used up and the like.
    ``blocked`` are the calls that kept the loop, and with it all sessions of the worker, for more than a quarter of a second.
    ``agreed`` and ``differed`` are a shadow's verdicts beside those that counted.
    """

    asked: int = 0
    matched: int = 0
    verdicts: int = 0
    errors: int = 0
    seconds: float = 0.0
    late: int = 0
    waiting: int = 0
    dropped: int = 0
    refused: int = 0
    blocked: int = 0
    agreed: int = 0
    differed: int = 0


@dataclass(slots=True)
class Tally:
    """Calls of late, for a canary's judgement: how many there were, failed, refused, and how many seconds they took in all."""

    calls: float = 0
    failed: float = 0
    seconds: float = 0.0
    refused: float = 0


@dataclass(slots=True)
class Trial:
    """How a canary does beside the binding that it is to replace.

    Args:
        sink: what is tried; with another sink object, settings or version a trial begins anew.
        settings: how it is tried.
        version: of the sink's code.
        own: its calls.
        others: those of the binding that it is to replace.
    """

    sink: object = None
    settings: CanarySettings | None = None
    version: str = ""
    own: Tally = field(default_factory=Tally)
    others: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class Standing:
    """How a binding fares; outlives reloads as long as a binding of this name is there.

    Args:
        firings: how often its handlers ran, for ``max_firings``; kept by this worker.
        failures: in a row.
        open_until: monotonic seconds until which its breaker is open; 0 while it is closed.
        rest: seconds of the breaker's present rest.
        probing: whether a call is under way that tries if an open breaker may close.
        last_error: what went wrong last, for administrators.
        rolled_back: why the canary was taken back; "" while it was not.
        trial: how the canary does.
        counters: by handler and event.
    """

    firings: int = 0
    failures: int = 0
    open_until: float = 0.0
    rest: float = 0.0
    probing: bool = False
    last_error: str = ""
    rolled_back: str = ""
    trial: Trial = field(default_factory=Trial)
    counters: dict[str, Counters] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plug:
    """A sink and how it is to be bound; what one ``[[binding]]`` table says.

    Args:
        name: unique.
        sink: the object. With ``run_in = "process"`` a shell of it that is never called: the object itself lives in that process.
        priority: 0 to 32767; 0 is asked first, the built-in policy is at 16384.
        match: conditions, all of which must hold; None for all events.
        timeout: seconds that a handler may take.
        on_error: what becomes of a question whose handler fails: "defer", "reject" or "continue".
        run_in: "loop", "thread", "process", or "" for what suits the handler: ``async def`` on the loop, ``def`` in a thread.
        where: where it is written, for errors.
        threads: how many calls of plain ``def`` handlers run at once; a further one waits.
        concurrency: how many calls of all its handlers run at once in a worker; a further one waits, and fails when its ``timeout`` is over
            before its turn comes. 0 for any number. A handler that never waits itself (``blocking=False``) needs no place.
        enabled: False keeps it in every list, and asks it nothing.
        mode: "shadow" asks it about a copy, and only compares what it says.
        canary: asks it about a part of the traffic only; None for all.
        sample: percent of messages, or of sessions before there is a message, that it is asked about.
        expires: seconds since 1970 from which it is asked nothing; 0 for never.
        max_firings: calls after which it is asked nothing more, in each worker; 0 for any number.
        breaker: when it is left alone.
        process: what its process may take.
        import_path: ``module:Class``, or the entry point that it was found by.
        version: of the sink's code: the first digits of a hash of its source; "" when it is not known.
        provenance: where it comes from.
        standing: how it fares.
        remote: calls the handlers in their process, with ``run_in = "process"``; None where none was started, as in ``penstock check``.
    """

    name: str
    sink: Sink[Any]
    priority: int = DEFAULT
    match: Match | None = None
    timeout: float = 30.0
    on_error: OnError = "defer"
    run_in: RunIn = ""
    where: str = ""
    threads: int = 4
    concurrency: int = 0
    enabled: bool = True
    mode: PlugMode = "active"
    canary: CanarySettings | None = None
    sample: float = 100.0
    expires: float = 0.0
    max_firings: int = 0
    breaker: BreakerSettings = BreakerSettings()
    process: ProcessSettings = ProcessSettings()
    import_path: str = ""
    version: str = ""
    provenance: Provenance = Provenance()
    standing: Standing = field(default_factory=Standing, compare=False)
    remote: Remote | None = field(default=None, compare=False)
