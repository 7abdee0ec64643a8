"""The bindings that a server starts with: live changes that cannot be used never stop the mail.

Whoever changes something while the server runs is told at once what is wrong. But a file may be torn, or edited by hand, or the files that
it changes may be others by now; then the server starts without what cannot be used, and says so: a mail server that stays down at night
is worse than one that misses a change. For the files themselves this does not hold: what they say was checked by whoever wrote it.
"""

from __future__ import annotations

import msgspec

from ..errors import ConfigError
from ..events.binding import Bindings
from ..events.plug import Plug
from ..observe.log import Log
from .kept import Kept, read, set_aside
from .registry import plugs
from .schema import Config
from .sources import changes_path, live_place


def starting(config: Config, log: Log) -> list[Plug]:
    """All sinks of a configuration, without those live changes that cannot be used; the log has each of them, as an error.

    Raises: ConfigError for what is wrong in the files themselves.
    """
    kept = usable(config, log)
    while True:
        try:
            found = plugs(config, kept)
            Bindings(found)
            return found
        except ConfigError as error:
            culprit = _culprit(config, kept, error)
            if not culprit:
                raise
            log.error("a live change is left out", binding=culprit, where=error.where, why=error.what)
            kept = msgspec.structs.replace(kept, bindings={name: one for name, one in kept.bindings.items() if name != culprit})


def usable(config: Config, log: Log) -> Kept:
    """The live changes; a file of them that cannot be read is moved aside."""
    path = changes_path(config)
    try:
        return read(path)
    except ConfigError as error:
        aside = set_aside(path)
        log.error("live changes are set aside", file=str(path), why=error.what, kept_as=str(aside or "it could not be moved"))
        return Kept()


def _culprit(config: Config, kept: Kept, error: ConfigError) -> str:
    """The name of the binding whose live change an error is about; "" when it is about something else."""
    for name in kept.bindings:
        place = live_place(changes_path(config), name)
        if error.where.startswith(place) and error.where[len(place) : len(place) + 1] in ("", ".", ":"):
            return name
    return ""
