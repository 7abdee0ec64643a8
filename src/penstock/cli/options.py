"""Options that several verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

SYSTEM_CONFIG = Path("/etc/penstock/penstock.toml")


def _default_config() -> Path:
    """The system's configuration; where there is none, ``penstock.toml`` of the working directory, if it is this user's own.

    A file that somebody else left in a folder names code that would be run.
    """
    here = Path("penstock.toml")
    try:
        own = not SYSTEM_CONFIG.exists() and here.stat().st_uid == os.geteuid()
    except OSError:
        own = False
    return here if own else SYSTEM_CONFIG


DEFAULT_CONFIG = _default_config()
ConfigOption = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", envvar="PENSTOCK_CONFIG", help="The configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON.")]
