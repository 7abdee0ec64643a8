"""What the two sides of a replay run: the bindings of the configuration, and those of another file."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ..config import Config, load, plugs
from ..config.kept import Kept
from ..config.load import convert, unknown_keys
from ..config.schema import BindingTable
from ..errors import ConfigError
from ..events.plug import Plug
from .replay_side import Bound


def todays(path: Path, without: Sequence[str]) -> Bound:
    """What the server runs: the configuration, its further files, and the live changes. Raises ConfigError."""
    config = _inert(load(path))
    return Bound(config, _less(plugs(config), without))


def candidates(today: Config, path: Path, without: Sequence[str]) -> Bound:
    """What another file binds.

    A file of ``[[binding]]`` tables takes the place of all bindings that an administrator wrote, with the other tables as they are today; a
    whole configuration takes the place of all of it. Live changes are of today's, and do not count.

    Raises: ConfigError.
    """
    raw = _read(path)
    _find_other_modules(today, path.absolute().parent)
    if set(raw) <= {"binding"}:
        tables = raw.get("binding", [])
        if not isinstance(tables, list) or not tables:
            raise ConfigError(
                str(path), "there is no [[binding]] in it", "write the bindings that are to be tried, or a whole configuration"
            )
        names = [table.get("name", number) if isinstance(table, dict) else number for number, table in enumerate(tables, 1)]
        bindings = [convert(table, BindingTable, f"{path}: binding.{name}") for name, table in zip(names, tables, strict=True)]
        with TemporaryDirectory(prefix="penstock-replay-") as empty:
            server = replace(today.server, bindings=Path(empty), packages=[])
            config = replace(today, path=path.absolute(), server=server, bindings=bindings, raw_bindings=tables)
            return Bound(config, _less(plugs(config, Kept()), without))
    config = _inert(load(path))
    return Bound(config, _less(plugs(config, Kept()), without))


def _read(path: Path) -> dict[str, object]:
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"the file cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), f"this is not TOML: {error}") from None
    if "binding" in raw and len(raw) > 1 and "listener" not in raw:
        unknown_keys(raw, {"binding"}, str(path))
    return raw


def _find_other_modules(today: Config, folder: Path) -> None:
    """Lets the modules beside the other file come before those of the same name that were imported already."""
    home = today.path.parent
    if folder == home:
        return
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if Path(file).parent in (home, home / "sinks"):
            del sys.modules[name]
    for place in (str(folder / "sinks"), str(folder)):
        if place in sys.path:
            sys.path.remove(place)
        sys.path.insert(0, place)


def _inert(config: Config) -> Config:
    """Without what a replay must not do: write another capture."""
    return replace(config, capture=replace(config.capture, enabled=False))


def _less(bound: Sequence[Plug], without: Sequence[str]) -> list[Plug]:
    names = {plug.name for plug in bound}
    for name in without:
        if name not in names:
            raise ConfigError("--without", f"there is no binding {name!r}", f"there are: {', '.join(sorted(names))}")
    return [plug for plug in bound if plug.name not in without]
