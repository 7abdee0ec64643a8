"""What ``penstock user`` does to a file of credentials: read, change and write it whole, so that the server never sees half of it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import getpass
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import typer

from ..errors import ConfigError, SaslError
from ..sinks.accounts import Account, encoded, folded, read_accounts
from ..sinks.passwords import Passwords
from ..verdicts import Keys
from ..wire.sasl.prepare import prepare
from .exits import EX_CANTCREAT, EX_CONFIG, EX_DATAERR, EX_NOPERM, EX_NOUSER, EX_TEMPFAIL, Stop

_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-1")
_LOCK_WAIT = 5.0
_LONGEST = 1024
_WHERE = "penstock user"
Accounts = dict[str, Account]


def file_of(config: Path) -> Path:
    """The first file of users of a configuration. Raises Stop, ConfigError."""
    from ..config import load

    loaded = load(config)
    for store in loaded.auth.stores:
        kind, _, target = store.partition(":")
        if kind.lower() == "file":
            return loaded.resolve(target)
    raise Stop(EX_CONFIG, f"{config}: there is no file in [auth] stores", 'write stores = ["file:users"], or name one with --file')


def add_user(path: Path, name: str, keep_clear: bool) -> None:
    """Adds a user. Raises Stop, ConfigError."""
    name = _prepared_name(name)
    password = _new_password(name)
    with _changing(path) as accounts:
        if folded(name) in accounts:
            raise Stop(EX_DATAERR, f"{path}: there is a user {accounts[folded(name)].user!r} already", "see: penstock user passwd --help")
        accounts[folded(name)] = _account(name, password, keep_clear)
    typer.echo(f"added {name}")


def change_password(path: Path, name: str, keep_clear: bool) -> None:
    """Gives a user another password. Raises Stop, ConfigError."""
    known = _known(_read(path), path, name)
    password = _new_password(known.user)
    with _changing(path) as accounts:
        known = _known(accounts, path, name)
        accounts[folded(name)] = msgspec.structs.replace(_account(known.user, password, keep_clear), disabled=known.disabled)
    typer.echo(f"changed the password of {known.user}")


def remove_user(path: Path, name: str) -> None:
    """Removes a user. Raises Stop, ConfigError."""
    with _changing(path) as accounts:
        known = _known(accounts, path, name)
        del accounts[folded(name)]
    typer.echo(f"removed {known.user}")


def list_users(path: Path, as_json: bool) -> None:
    """Lists the users. Raises Stop, ConfigError."""
    for account in _read(path).values():
        mechanisms = ["PLAIN", "LOGIN"] * bool(account.password) + [text.partition("$")[0] for text in account.keys]
        mechanisms += ["CRAM-MD5"] * bool(account.clear)
        if as_json:
            line = {"user": account.user, "mechanisms": mechanisms, "disabled": account.disabled}
            typer.echo(msgspec.json.encode(line).decode())
        else:
            typer.echo(f"{account.user}  {' '.join(mechanisms)}{'  (disabled)' if account.disabled else ''}")


def check_password(path: Path, name: str) -> None:
    """Says whether a password is right. Raises Stop, ConfigError."""
    known = _known(_read(path), path, name)
    password = _prepared(_asked(f"Password of {known.user}: "))
    try:
        right = asyncio.run(Passwords(_WHERE).is_right(known.password, password))
    except ValueError as error:
        raise Stop(EX_DATAERR, f"{path}: {known.user}: {error}") from None
    if not right:
        raise Stop(EX_NOPERM, "the password is wrong")
    typer.echo("the password is right" + ("; the user is disabled" if known.disabled else ""))


def _account(name: str, password: str, keep_clear: bool) -> Account:
    keys = [Keys.of(name, password, mechanism).text() for mechanism in _MECHANISMS]
    account = Account(name, Passwords(_WHERE).hash(password), keys, password if keep_clear else "")
    try:
        account.check()
    except ValueError as error:
        raise Stop(EX_DATAERR, str(error)) from None
    return account


def _known(accounts: Accounts, path: Path, name: str) -> Account:
    account = accounts.get(folded(_prepared_name(name)))
    if account is None:
        raise Stop(EX_NOUSER, f"{path}: there is no user {name!r}", "see: penstock user list")
    return account


def _prepared_name(name: str) -> str:
    """The name as it comes from clients, too (RFC 4013). Raises Stop."""
    try:
        prepared = prepare(name, stored=True)
    except SaslError as error:
        raise Stop(EX_DATAERR, f"{name!r} is no name for a user: {error}") from None
    if not prepared.strip() or not prepared.isprintable():
        raise Stop(EX_DATAERR, f"{name!r} is no name for a user", "write one such as alice@example.com")
    return prepared


def _prepared(password: str) -> str:
    """The password as it comes from clients, too. Raises Stop, without the password."""
    try:
        prepared = prepare(password, stored=True)
    except SaslError as error:
        raise Stop(EX_DATAERR, str(error)) from None
    if not prepared:
        raise Stop(EX_DATAERR, "the password is empty")
    if len(prepared.encode()) > _LONGEST:
        raise Stop(EX_DATAERR, f"the password has more than {_LONGEST} octets")
    return prepared


def _new_password(name: str) -> str:
    password = _prepared(_asked(f"New password of {name}: "))
    if sys.stdin.isatty() and _prepared(_asked("The same again: ")) != password:
        raise Stop(EX_DATAERR, "the two passwords are not the same", "nothing was changed")
    return password


def _asked(prompt: str) -> str:
    """From the terminal, unseen; where there is none, a line of standard input."""
    if sys.stdin.isatty():
        return getpass.getpass(prompt)
    try:
        return sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Stop(EX_DATAERR, "the password on standard input is not UTF-8") from None


def _read(path: Path) -> Accounts:
    if not path.exists():
        raise Stop(EX_NOUSER, f"{path}: there is no such file, and so no user", "make it with: penstock user add NAME")
    return read_accounts(path)


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[Accounts]:
    """The accounts of the file, which are written when the block ends without an error. Raises Stop, ConfigError."""
    try:
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Stop(EX_CANTCREAT, f"{path.parent}: {error.strerror}") from None
    try:
        _wait_for(lock, path)
        accounts = read_accounts(path) if path.exists() else {}
        yield accounts
        _write(path, encoded(accounts.values()))
    finally:
        os.close(lock)


def _wait_for(lock: int, path: Path) -> None:
    until = time.monotonic() + _LOCK_WAIT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise Stop(EX_TEMPFAIL, f"{path}: another command is changing it just now", "try again when it is done") from None
            time.sleep(0.02)
        else:
            return


def _write(path: Path, data: bytes) -> None:
    """Puts the file in the place of the one before, whole or not at all, with its owner and its mode; a new one is its owner's alone."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.unlink(missing_ok=True)
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            _like(fd, path)
            file.write(data)
            file.flush()
            os.fsync(fd)
        beside.replace(path)
    except OSError as error:
        raise ConfigError(str(path), f"it cannot be written: {error.strerror or error}", "nothing was changed") from None


def _like(fd: int, path: Path) -> None:
    """Owner and mode of the file that is replaced; of the folder where there is none, as the server runs as its owner."""
    try:
        old = path.stat()
        os.fchmod(fd, old.st_mode & 0o777)
    except FileNotFoundError:
        old = path.parent.stat()
    if os.geteuid() == 0:
        os.fchown(fd, old.st_uid, old.st_gid)
