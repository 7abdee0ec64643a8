"""``penstock sinks``: how its command line reads."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import DEFAULT_CONFIG, ConfigOption, JsonOption


def sinks(
    sink: Annotated[str, typer.Argument(metavar="[SINK]", help="'module:Class', or the name of an entry point.", show_default=False)] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List the sinks that there are, or show one.

    Without SINK those that ship, and those that installed packages offer. With it, which events it would be bound to, what it may answer,
    and its settings with types and defaults. The module is looked for beside the configuration file, in the folder 'sinks' there, and in
    the working directory. Nothing of it runs but the import.
    """
    from .sinks import show_sinks

    show_sinks(config, sink, as_json)
