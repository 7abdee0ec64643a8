"""``penstock bindings``: how its command lines read. The work is in the modules beside this one that begin with ``bindings``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import DEFAULT_CONFIG, ConfigOption, JsonOption

bindings = typer.Typer(rich_markup_mode=None)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The binding's name.", show_default=False)]
Values = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="As in the file: priority=100, match.recipient='*@example.com', settings.directory=/srv.",
                   show_default=False),
]  # fmt: skip
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it to a binding of the server's own, too.")]


@bindings.callback(invoke_without_command=True)
def bindings_(
    context: typer.Context,
    config: ConfigOption = DEFAULT_CONFIG,
    event: Annotated[str, typer.Option(metavar="EVENT", help="Only those of one event, e.g. RcptTo.")] = "",
    sink: Annotated[str, typer.Option(metavar="SINK", help="Only those of sinks with this text in their import path.")] = "",
    files: Annotated[bool, typer.Option("--files", help="Do not ask the running server.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List which sink is asked when, or change it.

    The sinks that carry out [relay] and [domain] are listed like the user's own. While the server runs, its workers' counters are added up;
    else the list says what the files say, and that no server answered.

    Changes are checked as a whole, kept until they are reset, and taken up by the running server.
    """
    if context.invoked_subcommand is None:
        from .bindings import Wanted, show_bindings

        show_bindings(config, Wanted(event, sink, files), as_json)


@bindings.command()
def show(name: Name, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show all that is known of one binding: what it says, where that is written, who changed it, and what it handles.

    Secrets are shown by where they come from, never by what they are.
    """
    from .bindings_shown import show_one

    show_one(config, name, as_json)


@bindings.command()
def history(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show who changed which binding when, while the server ran; the last 200 changes."""
    from .bindings_shown import show_history

    show_history(config, as_json)


@bindings.command()
def add(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The binding's name, which is to be new.", show_default=False)] = "",
    sink: Annotated[str, typer.Argument(metavar="[SINK]", help="'module:Class', or the name of an entry point.", show_default=False)] = "",
    values: Values = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add all [[binding]] tables of this file in the place of NAME and SINK.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a binding of this name that says something else.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Add a binding. To add the same twice is to add it once."""
    from .bindings_changed import add as run_add

    run_add(config, name, sink, values or [], file, replace, as_json)


@bindings.command()
def remove(name: Name, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Take a binding out, wherever it is written; 'reset' brings back one of the files."""
    from .bindings_changed import remove as run_remove

    run_remove(config, name, as_json)


@bindings.command()
def enable(name: Name, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Switch a binding on."""
    from .bindings_changed import switch

    switch(config, name, True, True, as_json)


@bindings.command()
def disable(name: Name, yes: Yes = False, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Switch a binding off; it stays in the list, and is asked nothing."""
    from .bindings_changed import switch

    switch(config, name, False, yes, as_json)


@bindings.command("set")
def set_(
    name: Name,
    values: Values = None,
    unset: Annotated[list[str] | None, typer.Option("--unset", metavar="KEY", help="Take out a key, e.g. match.sender.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Set keys of a binding: its priority, match, settings, or any other.

    A VALUE is written as in the file; what cannot be read so is taken as text. A whole table can be set, match='{ sender = "a@b" }', or one
    key in it, match.sender=a@b.
    """
    from .bindings_changed import set_values

    set_values(config, name, values or [], unset or [], as_json)


@bindings.command()
def reset(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The binding's name.", show_default=False)] = "",
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="Only these keys.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All bindings.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Go back to what the files say: for a binding, for some of its keys, or for all."""
    from .bindings_changed import reset as run_reset

    run_reset(config, name, keys or [], every, as_json)
