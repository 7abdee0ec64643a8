"""``penstock spool``: how its command lines read. The work is in ``kept.py`` (what is shown) and ``offline.py`` (the spools themselves)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .exits import EX_USAGE
from .options import DEFAULT_CONFIG, ConfigOption, JsonOption

spool = typer.Typer(rich_markup_mode=None)
Id = Annotated[str, typer.Argument(metavar="ID", help="The queue id, as the client and the log were told it.", show_default=False)]
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Queue ids.", show_default=False)]
Held = Annotated[bool, typer.Option("--held", help="Only what is held.")]


@spool.callback(invoke_without_command=True)
def spool_(context: typer.Context) -> None:
    """Look at kept mail, and release held mail.

    Mail is held when a sink quarantined it, when nothing delivers to a recipient, or when it is damaged. Stop the server first: while it
    runs, all of these but 'check' exit with 75. Run them as the user that the spool belongs to.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(EX_USAGE)


@spool.command("list")
def list_(held: Held = False, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List messages, and why they are held.

    Oldest first. With --json, the field names are those of 'postqueue -j'.
    """
    from .kept import show_list

    show_list(config, held, as_json)


@spool.command()
def show(message: Id, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show envelope, origin and header of one message."""
    from .kept import show_one

    show_one(config, message, as_json)


@spool.command()
def cat(message: Id, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Write one message to standard output.

    Octet for octet, with what sinks edited; without the fields that a delivery puts on top.
    """
    from .kept import write_one

    write_one(config, message)


@spool.command()
def check(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Compare the checksums of all that is kept.

    Changes nothing, and may run beside a server; what the server is writing at that moment may then look unfinished. Exits with 65 when
    something is damaged.
    """
    from .kept import show_check

    show_check(config, as_json)


@spool.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.", show_default=False)],
    held: Held = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Copy messages into a folder.

    Each becomes two files: ID.json has the envelope and what sinks edited, ID.eml the content as it came. The messages stay in the spool.
    'penstock spool import' takes the folder back, also on another machine.
    """
    from .offline import export_to

    export_to(config, folder, held)


@spool.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What 'export' wrote.", show_default=False)],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Take in what 'penstock spool export' wrote.

    Nothing is taken when a message of the folder is in the spool already, since it would then be delivered twice.
    """
    from .offline import import_from

    import_from(config, folder)


@spool.command()
def release(
    messages: Ids,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="BINDING", help="Do not show it to this binding again; may be given several times.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Let held messages go on.

    They do so when the server is started, where they were stopped. A deferred message is tried then, too, and does not wait for its time.
    A sink of Submission that quarantined it would do so again: name its binding with --skip.
    """
    from .offline import release_all

    release_all(config, messages, skip or [])


@spool.command()
def remove(messages: Ids, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Delete messages for good.

    No sender is told.
    """
    from .offline import remove_all

    remove_all(config, messages)
