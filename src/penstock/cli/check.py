"""``penstock check``: everything that can be known of a configuration without starting it.

What is wrong is an error, and the same one that ``serve`` would end with. What is allowed but is hardly meant is a warning. With
``--start`` the sinks are started and stopped too, which finds what only they can know, such as a password that is not accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import typer

from ..admin.places import check_path, socket_path
from ..app.building import notice_settings
from ..config import Config, load, plugs
from ..config.account import named_account
from ..config.kept import visible
from ..config.outbound import resolver_settings
from ..config.sources import changes_path
from ..delivery.resolver import Resolver
from ..errors import ConfigError, PenstockError
from ..events.binding import Bindings
from ..events.plug import Plug
from .in_json import in_json
from .tls_warnings import about_tls
from .warnings import warnings


def check(path: Path, start: bool, as_json: bool) -> None:
    """Checks a configuration and says what is in it. Raises ConfigError."""
    config = load(path)
    kept, hidden = visible(changes_path(config))
    bound = Bindings(plugs(config, kept))
    counts = {"bindings": len(bound.plugs), "listeners": len(config.listeners), "domains": len(config.domains)}
    _check_what_a_worker_makes(config)
    found = [*([hidden] if hidden else []), *warnings(config, bound.plugs, kept), *about_tls(config)]
    if start:
        asyncio.run(_start_and_stop(bound.plugs))
    if as_json:
        typer.echo(in_json({"ok": True, **counts, "warnings": found}))
        return
    for warning in found:
        typer.echo(f"warning: {warning}", err=True)
    started = "; all sinks start and stop" if start else ""
    typer.echo("ok: " + ", ".join(_counted(number, name) for name, number in counts.items()) + started)


def _check_what_a_worker_makes(config: Config) -> None:
    """Makes, without starting anything, what else a worker makes of the configuration. Raises ConfigError."""
    path = socket_path(config.resolve(config.server.control), config.server.worker_count - 1)
    try:
        check_path(path)
    except PenstockError as error:
        raise ConfigError(f"{config.path}: server.control", str(error)) from None
    named_account(config)
    notice_settings(config)
    try:
        Resolver(resolver_settings(config))
    except ValueError as error:
        raise ConfigError(f"{config.path}: dns", str(error), 'name servers are written "192.0.2.53" or "192.0.2.53:5353"') from None


def _counted(number: int, name: str) -> str:
    return f"{number} {name.removesuffix('s') if number == 1 else name}"


async def _start_and_stop(bound: Sequence[Plug]) -> None:
    """Starts all sinks as a worker does, and stops those that were started. Raises ConfigError."""
    started: list[Plug] = []
    try:
        for plug in bound:
            if not plug.enabled or plug.run_in == "process":
                continue  # there is only a shell of it here
            await _do(plug, plug.sink.start, "does not start")
            started.append(plug)
    finally:
        for plug in started:
            await _do(plug, plug.sink.stop, "does not stop")


async def _do(plug: Plug, what: Callable[[], Awaitable[None]], fails: str) -> None:
    try:
        await what()
    except ConfigError as error:
        raise ConfigError(plug.where, f"the sink {fails}: {error.where}: {error.what}", error.hint) from error
    except (Exception, SystemExit) as error:
        # A sink that ends the process would end this one with its own exit code.
        raise ConfigError(plug.where, f"the sink {fails}: {type(error).__name__}: {error}") from error
