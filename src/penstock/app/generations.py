"""The generations of a worker's bindings: which one is in force, how the next takes its place, and when the sinks of an old one end.

A reload loads the files again, starts the sinks that are new, and only then switches, in one step between two turns of the loop. Until then
nothing has changed: whatever fails, the old generation runs on. After it, sessions and messages under way work with the old generation
until they are over; then its sinks stop, those that the newer ones do not share.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..config import Config
from ..config.reuse import NewSettings
from ..errors import ConfigError, PenstockError
from ..events.binding import Bindings
from ..events.dispatch import Dispatcher
from ..events.keeping import close_kept
from ..events.plug import Plug
from ..events.reports import ConfigChanged
from ..events.sink import Sink
from ..events.work import Backplane, Facts
from ..isolation import SinkProcess
from ..observe.log import Log
from .loading import Loaded, Loader, needs_restart


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How long things may take, in seconds.

    Args:
        load: to read the files, import the sinks and make them.
        start: for one sink to start, or to take new settings.
        stop: for one sink to stop.
        retire: until the sinks of an old generation are stopped, whoever still works with them.
        told: for reports that wait when an old generation has no session and no message any more.
    """

    load: float = 60.0
    start: float = 30.0
    stop: float = 10.0
    retire: float = 3600.0
    told: float = 10.0


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload did.

    Args:
        generation: the number of the one in force.
        changed: names of bindings that are new, gone or not what they were.
        restart: keys of the configuration that changed, and that only a restart takes up.
    """

    generation: int
    changed: tuple[str, ...]
    restart: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GenerationParts:
    """What generations work with.

    Args:
        server: answers sinks that live in other processes.
        dispatcher: whose reports an old generation waits for.
        log: where reloads are told of.
    """

    server: Backplane
    dispatcher: Dispatcher
    log: Log


class Generations:
    """All generations of one worker.

    Args:
        config: the configuration of the first.
        plugs: what the first binds.
        parts: what they work with.
        settings: how long things may take.

    Raises: ConfigError.
    """

    def __init__(self, config: Config, plugs: Sequence[Plug], parts: GenerationParts, settings: GenerationSettings | None = None) -> None:
        self.config = config
        self._server = parts.server
        self._dispatcher = parts.dispatcher
        self._log = parts.log
        self.bindings = Bindings(self._furnished(plugs, ()), None, self._log)
        # Puts a generation in force; set by the worker, which alone knows all who must be told.
        self.switch: Callable[[Loaded, Bindings], None] = _nobody
        self.last_error = ""
        self._settings = settings or GenerationSettings()
        self._loader = Loader(self._settings.load)
        self._one_at_a_time = asyncio.Lock()
        self._retiring: dict[Bindings, asyncio.Task[None]] = {}

    @property
    def retiring(self) -> int:
        """How many old generations are still worked with."""
        return len(self._retiring)

    async def start(self) -> None:
        """Starts the sinks of the first generation. Raises PenstockError."""
        await self._start(self.bindings.plugs)

    async def reload(self) -> Reloaded:
        """Puts what the files say now in force. Raises PenstockError; then the generation before runs on."""
        async with self._one_at_a_time:
            try:
                loaded = await self._loader.load(self.config, self.bindings.plugs)
                done = await self._take_up(loaded)
            except PenstockError as error:
                self.last_error = _one_line(error)
                self._log.error("reload failed, the old generation runs on", generation=self.bindings.generation, error=self.last_error)
                raise
            self.last_error = ""
        self._log.info("reloaded", generation=done.generation, changed=list(done.changed))
        if done.restart:
            self._log.warning("some of what changed needs a restart", keys=list(done.restart))
        return done

    def note_refusal(self, why: str) -> None:
        """Notes that a reload was not tried, since others have seen that it would fail."""
        self.last_error = why
        self._log.error("reload refused, the old generation runs on", generation=self.bindings.generation, error=why)

    async def stop(self) -> None:
        """Stops all sinks, of the present generation and of old ones."""
        for task in self._retiring.values():
            task.cancel()
        plugs = [plug for bindings in (self.bindings, *self._retiring) for plug in bindings.plugs]
        self._retiring.clear()
        await self._stop(_distinct(plugs))

    async def _take_up(self, loaded: Loaded) -> Reloaded:
        """Starts what is new, and switches. Raises PenstockError when something does not start; then all is as it was."""
        old = self.bindings
        known = {id(living(plug)) for plug in old.plugs}
        try:
            bindings = Bindings(self._furnished(loaded.plugs, old.plugs), old, self._log)
            fresh = [plug for plug in bindings.plugs if id(living(plug)) not in known]
            await self._start(fresh)
            await self._tell_settings(loaded.told, fresh)
        except PenstockError:
            loaded.stage.undo()
            raise
        done = Reloaded(
            old.generation + 1, changed_names(old.plugs, bindings.plugs, loaded.told), needs_restart(self.config, loaded.config)
        )
        bindings.generation = done.generation
        self.switch(loaded, bindings)
        self.bindings, self.config = bindings, loaded.config
        loaded.stage.keep()
        self._retiring[old] = asyncio.get_running_loop().create_task(self._retire(old))
        chain = bindings.chain(ConfigChanged)
        if chain:
            self._dispatcher.tell(ConfigChanged(Facts(self._server), done.generation, done.changed), chain)
        return done

    def _furnished(self, plugs: Sequence[Plug], before: Sequence[Plug]) -> list[Plug]:
        """The plugs, with their processes where they run in such; a process goes on where nothing about its plug changed."""
        known = {plug.name: plug for plug in before}
        found: list[Plug] = []
        for plug in plugs:
            if plug.run_in != "process" or not plug.enabled:
                found.append(plug)
                continue
            old = known.get(plug.name)
            kept = old.remote if old is not None and _same(old, plug) else None
            found.append(replace(plug, remote=kept or SinkProcess(plug, self._log, self._server)))
        return found

    async def _start(self, plugs: Sequence[Plug]) -> None:
        """Starts sinks; those that were started are stopped when another one does not start. Raises ConfigError."""
        started: list[Plug] = []
        for plug in plugs:
            try:
                await within(self._settings.start, starting(plug))
            except Exception as error:
                await self._stop(started)
                raise ConfigError(plug.where or plug.name, f"the sink does not start: {_named(error)}") from error
            started.append(plug)

    async def _tell_settings(self, told: Sequence[NewSettings], fresh: Sequence[Plug]) -> None:
        """Tells sinks that are kept of their new settings; when one refuses, the others are given their old ones again."""
        done: list[tuple[NewSettings, Any]] = []
        for new in told:
            before = new.sink.settings
            try:
                await within(self._settings.start, self._give(new.sink, new.settings))
            except Exception as error:
                for one, settings in reversed(done):
                    await self._give_back(one, settings)
                await self._stop(fresh)
                raise ConfigError(f"binding {new.name}", f"the sink does not take its new settings: {_named(error)}") from error
            done.append((new, before))

    async def _give_back(self, told: NewSettings, settings: object) -> None:
        try:
            await within(self._settings.start, self._give(told.sink, settings))
        except Exception as error:
            self._log.error("sink does not take its old settings back", binding=told.name, error=_named(error))

    async def _give(self, sink: Sink[Any], settings: object) -> None:
        """Tells a sink its settings, where it lives; a shell of one that lives in other processes only keeps them."""
        remote = next((plug.remote for plug in self.bindings.plugs if plug.sink is sink), None)
        if isinstance(remote, SinkProcess):
            await remote.settings_changed(settings)
        else:
            await sink.settings_changed(settings)  # type: ignore[attr-defined]
        sink.settings = settings

    async def _retire(self, old: Bindings) -> None:
        """Waits until nobody works with a generation, and stops those of its sinks that no other one has."""
        if not await old.uses.over(self._settings.retire):
            self._log.warning("an old generation is ended while it is used", generation=old.generation, uses=old.uses.count)
        with contextlib.suppress(TimeoutError):  # under load there is always another one; those of the old generation come first
            await asyncio.wait_for(self._dispatcher.drain(), self._settings.told)
        self._retiring.pop(old, None)
        shared = {id(living(plug)) for bindings in (self.bindings, *self._retiring) for plug in bindings.plugs}
        ending = [plug for plug in old.plugs if id(living(plug)) not in shared]
        number = old.generation
        del old
        await self._stop(ending)
        if ending:
            self._log.info("an old generation is over", generation=number, stopped=[plug.name for plug in ending])
        del ending
        # Classes and modules are cycles, and the collector is set to come by seldom.
        gc.collect()

    async def _stop(self, plugs: Sequence[Plug]) -> None:
        for plug in plugs:
            try:
                await within(self._settings.stop, stopping(plug))
            except Exception as error:
                self._log.error("sink does not stop", binding=plug.name, error=_named(error))


def changed_names(old: Sequence[Plug], new: Sequence[Plug], told: Sequence[NewSettings] = ()) -> tuple[str, ...]:
    """The bindings that are new, gone, or not what they were."""
    before, now = {plug.name: plug for plug in old}, {plug.name: plug for plug in new}
    names = {one.name for one in told}
    return tuple(sorted(name for name in before.keys() | now.keys() if name in names or not _same(before.get(name), now.get(name))))


def _same(old: Plug | None, new: Plug | None) -> bool:
    """Whether two plugs are bound in the same way; the predicate of a shipped one is made anew each time, and never differs."""
    if old is None or new is None or old.sink is not new.sink:
        return False
    if not isinstance(getattr(old.match, "when", None), partial):
        return old == new
    return replace(old, match=None) == replace(new, match=None)


async def within(seconds: float, work: Awaitable[None]) -> None:
    """Waits so long for work of a sink, and no longer even if it will not be cancelled. Raises TimeoutError, and what it raises."""
    task = asyncio.ensure_future(_quiet(work))
    done, _ = await asyncio.wait((task,), timeout=seconds)
    if not done:
        task.cancel()
        raise TimeoutError(f"it takes longer than {seconds:g} s")
    error = task.result()
    if error is not None:
        raise error


async def _quiet(work: Awaitable[None]) -> Exception | None:
    """Does it; what it raises is handed over, since SystemExit in a task would end the loop."""
    try:
        await work
    except Exception as error:
        return error
    except SystemExit as error:
        return RuntimeError(f"it calls sys.exit({error.code!r})")
    return None


def living(plug: Plug) -> object:
    """What of a plug is started and stopped: the sink, or the processes that it lives in."""
    return plug.sink if plug.remote is None else plug.remote


async def starting(plug: Plug) -> None:
    """Starts the sink of a binding, or its processes; what is switched off is a shell that is never called."""
    if isinstance(plug.remote, SinkProcess):
        await plug.remote.start()
    elif plug.enabled:
        await plug.sink.start()


async def stopping(plug: Plug) -> None:
    """Stops the sink of a binding, or its processes."""
    if isinstance(plug.remote, SinkProcess):
        await plug.remote.stop()
    elif plug.enabled:
        try:
            await plug.sink.stop()
        finally:
            await close_kept(plug.sink)


def _distinct(plugs: Sequence[Plug]) -> list[Plug]:
    """One plug for each that is to be stopped."""
    return list({id(living(plug)): plug for plug in plugs}.values())


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _one_line(error: Exception) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines())


def _nobody(_: Loaded, __: Bindings) -> None:
    """Nobody has to be told."""
