"""``penstock sink new``: writes a sink, its test and its binding, so that a first sink runs in the server after three commands.

What is written passes a type checker and its own test as it stands, and is meant to be edited. Nothing that is there is ever replaced; and
a name is refused that would hide a module of Python's or of an installed package, since the folder of sinks is looked into first.
"""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from .exits import EX_CANTCREAT, EX_USAGE, Stop

sink = typer.Typer(no_args_is_help=True, help="Write sinks.", rich_markup_mode=None)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
CONFIG = """\
# A server for trying things out. All tables and keys are described in docs/configuration.md.
# Relative paths are taken from the folder of this file; each file in bindings.d binds a sink of the folder "sinks".

[server]
hostname = "mx.example.com"
spool = "penstock-data/spool"           # accepted mail waits here until it is delivered
control = "penstock-data/run"           # by these sockets "penstock queue" reaches the running server
workers = 1

[[listener]]
name = "mx"
address = "127.0.0.1:2525"              # only this machine can reach it

[domain."example.com"]
deliver = "maildir:penstock-data/mail/{domain}/{local}"
"""


@sink.callback()
def group() -> None:
    """Write sinks."""


@sink.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the sink: a Python module's, such as 'greeter'.")],
    event: Annotated[str, typer.Option(metavar="EVENT", help="What it handles, such as RcptTo.")] = "Submission",
    folder: Annotated[Path, typer.Option(metavar="DIR", help="Where penstock.toml is, or shall be.")] = Path(),
) -> None:
    """Write a sink with a test that passes, and bind it.

    Writes sinks/NAME.py, tests/test_NAME.py and bindings.d/NAME.toml, and penstock.toml where there is none: a server for 127.0.0.1:2525.
    Nothing that is there is replaced. After it: 'pytest', and 'penstock serve'.
    """
    from .sink_written import written

    _check_name(name)
    files = written(name, event, folder)
    for path in files:
        if os.path.lexists(path):
            raise Stop(EX_CANTCREAT, f"{path} is there already, and is not replaced", "choose another name, or edit the file")
    _write(files)
    for path in files:
        typer.echo(f"wrote {path}")
    where = "" if folder in (Path(), Path.cwd()) else f"cd {folder}; "
    typer.echo(f"\nNext: edit {folder / 'sinks' / name}.py; then\n  {where}pytest\n  {where}penstock serve")


def _check_name(name: str) -> None:
    """Raises Stop for a name that cannot be a module's, or is one's already."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise Stop(EX_USAGE, f"{name!r} is no name for a sink", "letters in lower case, digits and '_', beginning with a letter: greeter")
    if name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None:
        raise Stop(EX_USAGE, f"{name!r} is the name of a Python module, which the sink would hide", f"choose another, such as {name}_sink")


def _write(files: dict[Path, str]) -> None:
    """Writes all of the files, or none. Raises Stop."""
    done: list[Path] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                done.append(path)
                file.write(text)
    except OSError as error:
        for path in done:
            path.unlink(missing_ok=True)
        raise Stop(EX_CANTCREAT, f"{error.filename or path} cannot be written: {error.strerror}") from None
