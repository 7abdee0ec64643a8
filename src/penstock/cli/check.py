"""``penstock check``: everything that can be known of a configuration without starting it.

What is wrong is an error, and the same one that ``serve`` would end with. What is allowed but is hardly meant is a warning.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import typer

from ..config import Config, load, plugs
from ..events.binding import Bindings


def check(path: Path, as_json: bool) -> None:
    """Checks a configuration and says what is in it. Raises ConfigError."""
    config = load(path)
    bound = Bindings(plugs(config))
    counts = {"bindings": len(bound.plugs), "listeners": len(config.listeners), "domains": len(config.domains)}
    found = warnings(config)
    if as_json:
        typer.echo(json.dumps({"ok": True, **counts, "warnings": found}, indent=2, ensure_ascii=False))
        return
    for warning in found:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo("ok: " + ", ".join(_counted(number, name) for name, number in counts.items()))


def _counted(number: int, name: str) -> str:
    return f"{number} {name.removesuffix('s') if number == 1 else name}"


def warnings(config: Config) -> list[str]:
    """What is allowed, but hardly meant."""
    found = []
    if not config.domains:
        found.append("there is no [domain]: the server takes mail for nobody")
    if config.relay.networks:
        found.append(
            "relay.networks: mail from there to other domains is accepted and then held, since this version does not send to other servers"
        )
    if "." not in config.server.hostname:
        found.append(f"server.hostname: {config.server.hostname!r} is no full name, such as 'mx.example.com'; other servers may mind")
    found += _folder("server.spool", config.resolve(config.server.spool))
    for name, table in config.domains.items():
        kind, _, target = table.deliver.partition(":")
        if kind in ("maildir", "drop"):
            fixed, brace, _ = target.partition("{")
            folder = config.resolve(f"{fixed}x" if brace else fixed)
            found += _folder(f'domain."{name}".deliver', folder.parent if brace else folder)
    return found


def _folder(key: str, folder: Path) -> list[str]:
    """Warns of a folder that this user can neither make nor write into."""
    there = next((path for path in (folder, *folder.parents) if _exists(path)), folder)
    if not there.is_dir():
        return [f"{key}: {there} is not a folder"]
    if not os.access(there, os.W_OK | os.X_OK):
        return [f"{key}: this user may not write to {there}"]
    return []


def _exists(path: Path) -> bool:
    """Whether it is there, as far as this user may know."""
    try:
        return path.exists()
    except PermissionError:
        return False
