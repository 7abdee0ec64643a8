"""Loads a configuration and its sinks beside the mail: the user's code may block, and may be broken."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from ..config import Config, load, plugs
from ..config.capturing import capture_settings
from ..config.code import Stage
from ..config.outbound import Outbound
from ..config.reuse import NewSettings, Reuse
from ..config.values import Endpoint
from ..errors import ConfigError, PenstockError
from ..events.plug import Plug
from ..transport.parts import TransportSettings
from .aside import Aside
from .building import transport_settings
from .encrypting import Encryption


@dataclass(frozen=True, slots=True)
class Loaded:
    """A generation that is made and not in force yet.

    Args:
        config: the configuration.
        plugs: what it binds.
        told: sinks that are kept and are to be told of new settings.
        transport: how transport behaves.
        outbound: the settings of the queues.
        encryption: the TLS of the listeners.
        stage: the modules, to keep or to put back.
    """

    config: Config
    plugs: tuple[Plug, ...]
    told: tuple[NewSettings, ...]
    transport: TransportSettings
    outbound: Outbound
    encryption: Encryption
    stage: Stage


class Loader:
    """Loads one generation at a time.

    Args:
        seconds: how long that may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._busy: Aside[Loaded] | None = None

    @property
    def hangs(self) -> bool:
        """Whether something is being loaded still, or again."""
        return self._busy is not None and self._busy.is_alive

    async def load(self, config: Config, before: Sequence[Plug]) -> Loaded:
        """The generation that the files describe now, after the one with these plugs. Raises ConfigError, PenstockError.

        Until one that hangs comes back nothing is loaded again: it may hold the import of the very module that hangs.
        """
        if self._busy is not None and self._busy.is_alive:
            hint = "it can only be loaded again after a restart"
            raise ConfigError(str(config.path), f"an earlier reload still hangs {self._busy.where()}", hint)
        job = _Job(config, before)
        self._busy = Aside(job.run, "penstock-reload")
        try:
            return await self._busy.result(self._seconds)
        except TimeoutError as error:
            job.give_up()
            raise ConfigError(str(config.path), f"the sinks were not loaded within {self._seconds:g} s: it hangs {error}") from None
        except PenstockError:
            raise
        except BaseException as error:
            raise PenstockError(f"{type(error).__name__}: {error}") from error


class _Job:
    """One generation while it is loaded."""

    def __init__(self, config: Config, before: Sequence[Plug]) -> None:
        self._config, self._before = config, before
        self._stage: Stage | None = None
        self._given_up = False
        self._lock = threading.Lock()

    def give_up(self) -> None:
        """Nobody waits any more: the old modules are the modules."""
        with self._lock:
            self._given_up = True
            self._undo()

    def run(self) -> Loaded:
        """In the thread."""
        try:
            loaded = self._load()
        except BaseException:
            with self._lock:
                self._undo()
            raise
        with self._lock:
            if self._given_up:
                self._undo()
        return loaded

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
        # What cannot be captured is an error now, and not when all else has taken up the new generation.
        capture_settings(config, 0)
        return Loaded(config, tuple(found), tuple(reuse.told), transport, outbound, Encryption(config), stage)


def needs_restart(old: Config, new: Config) -> tuple[str, ...]:
    """The keys of what changed that only a restart takes up."""
    fixed = ("spool", "control", "submit_group", "user", "group", "worker_count", "drain")
    found = [f"server.{key}" for key in fixed if _differs(old.server, new.server, key)]
    found += ["listener"] if _places(old) != _places(new) else []
    found += [table for table in ("log", "dns") if _differs(old, new, table)]
    found += [f"trace.{key}" for key in ("folder", "size", "age", "entry") if _differs(old.trace, new.trace, key)]
    once = ("sessions", "ipv4", "ipv6", "port", "own_addresses")
    found += [f"delivery.{key}" for key in once if _differs(old.delivery, new.delivery, key)]
    return tuple(name.replace("worker_count", "workers") for name in found)


def _places(config: Config) -> set[tuple[str, Endpoint]]:
    """Where it listens; what else listeners say is taken up by a reload."""
    return {(listener.name, listener.address) for listener in config.listeners}


def _differs(old: object, new: object, key: str) -> bool:
    return bool(getattr(old, key) != getattr(new, key))
