"""Loads a configuration and its sinks in a thread of its own, with a deadline: the user's code may block, and the mail goes on meanwhile.

A thread cannot be ended. One that hangs is left behind, and said where it hangs; until it comes back nothing is loaded again, since it may
hold the import of the very module that hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from ..config import Config, load, plugs
from ..config.code import Stage
from ..config.outbound import Outbound
from ..config.reuse import NewSettings, Reuse
from ..errors import ConfigError, PenstockError
from ..events.binding import Bindings
from ..events.plug import Plug
from ..transport.parts import TransportSettings
from .building import transport_settings


@dataclass(frozen=True, slots=True)
class Loaded:
    """A generation that is made and not in force yet.

    Args:
        config: the configuration.
        plugs: what it binds.
        told: sinks that are kept and are to be told of new settings.
        transport: how transport behaves.
        outbound: the settings of the queues.
        stage: the modules, to keep or to put back.
    """

    config: Config
    plugs: tuple[Plug, ...]
    told: tuple[NewSettings, ...]
    transport: TransportSettings
    outbound: Outbound
    stage: Stage


class Loader:
    """Loads one generation at a time.

    Args:
        seconds: how long that may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._busy: threading.Thread | None = None

    async def load(self, config: Config, before: Bindings) -> Loaded:
        """The generation that the files describe now, after this one. Raises ConfigError, PenstockError."""
        if self._busy is not None and self._busy.is_alive():
            hint = "it can only be loaded again after a restart"
            raise ConfigError(str(config.path), f"an earlier reload still hangs {_where(self._busy)}", hint)
        job = _Job(config, before.plugs)
        self._busy = thread = threading.Thread(target=job.run, name="penstock-reload", daemon=True)
        thread.start()
        await asyncio.wait((job.done,), timeout=self._seconds)
        if not job.done.done():
            where = _where(thread)
            job.give_up()
            raise ConfigError(str(config.path), f"the sinks were not loaded within {self._seconds:g} s: it hangs {where}")
        return job.done.result()


class _Job:
    """One generation while it is loaded; ``done`` has it, or the error."""

    def __init__(self, config: Config, before: Sequence[Plug]) -> None:
        self._config, self._before = config, before
        self._loop = asyncio.get_running_loop()
        self._stage: Stage | None = None
        self._given_up = False
        self._lock = threading.Lock()
        self.done: asyncio.Future[Loaded] = self._loop.create_future()

    def give_up(self) -> None:
        """Nobody waits any more: the old modules are the modules."""
        with self._lock:
            self._given_up = True
            self._undo()

    def run(self) -> None:
        """In the thread."""
        loaded, failure = None, None
        try:
            loaded = self._load()
        except PenstockError as error:
            failure = error
        except BaseException as error:  # the thread is ours: nothing may end it without a word
            failure = PenstockError(f"{type(error).__name__}: {error}")
        with self._lock:
            if failure is not None or self._given_up:
                self._undo()
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._tell, loaded, failure)

    def _undo(self) -> None:
        if self._stage is not None:
            self._stage.undo()

    def _load(self) -> Loaded:
        self._stage = stage = Stage()
        config = load(self._config.path)
        reuse = Reuse(self._before)
        found = plugs(config, reuse=reuse)
        outbound = Outbound(config)
        transport = transport_settings(config, outbound.limits, lambda: None)
        return Loaded(config, tuple(found), tuple(reuse.told), transport, outbound, stage)

    def _tell(self, loaded: Loaded | None, failure: PenstockError | None) -> None:
        if self.done.cancelled():
            return
        if loaded is not None:
            self.done.set_result(loaded)
        else:
            self.done.set_exception(failure or PenstockError("nothing was loaded"))
            self.done.exception()  # looked at, for the case that nobody waits


def _where(thread: threading.Thread) -> str:
    """The line of somebody's code that a thread is at."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - the only way to see where another thread is
    found = [line for line in traceback.extract_stack(frame) if not line.filename.startswith("<") and "penstock/" not in line.filename]
    theirs = [line for line in found if "threading.py" not in line.filename and "importlib" not in line.filename]
    return f"in {theirs[-1].filename}, line {theirs[-1].lineno}" if theirs else "somewhere"


def needs_restart(old: Config, new: Config) -> tuple[str, ...]:
    """The keys of what changed that only a restart takes up."""
    fixed = ("spool", "control", "submit_group", "worker_count", "drain")
    found = [f"server.{key}" for key in fixed if _differs(old.server, new.server, key)]
    found += ["listener"] if old.listeners != new.listeners else []
    found += [table for table in ("log", "dns") if _differs(old, new, table)]
    found += [f"trace.{key}" for key in ("folder", "size", "age", "entry") if _differs(old.trace, new.trace, key)]
    fixed = ("sessions", "ipv4", "ipv6", "port", "own_addresses")
    found += [f"delivery.{key}" for key in fixed if _differs(old.delivery, new.delivery, key)]
    return tuple(name.replace("worker_count", "workers") for name in found)


def _differs(old: object, new: object, key: str) -> bool:
    return bool(getattr(old, key) != getattr(new, key))
