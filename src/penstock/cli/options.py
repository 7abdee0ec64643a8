"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONFIG = Path("/etc/penstock/penstock.toml")
ConfigOption = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", envvar="PENSTOCK_CONFIG", help="The configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON.")]
