"""``penstock user``: how its command lines read. A password never stands in one: other users of the machine could read it there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import DEFAULT_CONFIG, ConfigOption, JsonOption

user = typer.Typer(no_args_is_help=True, help="Look after the users of a file of credentials.", rich_markup_mode=None)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The user, such as alice@example.com.", show_default=False)]
FileOption = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="The file; without it, the first 'file:' of [auth] stores.", show_default=False),
]
KeepClear = Annotated[bool, typer.Option("--keep-clear", help="Keep the password itself, too: CRAM-MD5 needs it, and nothing else.")]


@user.callback()
def group() -> None:
    """Look after the users of a file of credentials."""


@user.command()
def add(name: Name, file: FileOption = None, config: ConfigOption = DEFAULT_CONFIG, keep_clear: KeepClear = False) -> None:
    """Add a user, with a password that is asked for, or read from standard input.

    Makes the file when there is none. A running server knows the user a second later.
    """
    from .user import add_user

    add_user(_file(file, config), name, keep_clear)


@user.command()
def passwd(name: Name, file: FileOption = None, config: ConfigOption = DEFAULT_CONFIG, keep_clear: KeepClear = False) -> None:
    """Give a user another password, which is asked for, or read from standard input."""
    from .user import change_password

    change_password(_file(file, config), name, keep_clear)


@user.command()
def remove(name: Name, file: FileOption = None, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Remove a user. Sessions that are logged in go on."""
    from .user import remove_user

    remove_user(_file(file, config), name)


@user.command("list")
def list_(file: FileOption = None, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List the users, and the mechanisms that each can use."""
    from .user import list_users

    list_users(_file(file, config), as_json)


@user.command()
def check(name: Name, file: FileOption = None, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Check a password, which is asked for, or read from standard input; exits with 0 when it is right, with 77 when it is not."""
    from .user import check_password

    check_password(_file(file, config), name)


def _file(file: Path | None, config: Path) -> Path:
    from .user import file_of

    return file or file_of(config)
