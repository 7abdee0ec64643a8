"""The spools of a stopped server: opened all together, so that an id is found in whichever it is, and changed all or not at all.

A spool is opened by the code that the server opens it with, which takes the lock; so a command and a server never work on one at the same
time. Opening recovers, and may write; hence it is done by the owner only, or the server could not write its own files any more.
"""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import typer

from ..config import Config, load
from ..errors import PenstockError, StorageLocked
from ..mail.message import MessageRecord, decode_record, encode_record
from ..storage.base import Change, Entry, Put, Query, Remove
from ..storage.embedded import EmbeddedSettings, EmbeddedSpool, tools
from .exits import EX_DATAERR, EX_NOINPUT, EX_NOPERM, EX_NOUSER, EX_TEMPFAIL, EX_USAGE, Stop, complain

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kept:
    """One message in a spool.

    Args:
        worker: the name of the spool's folder.
        spool: the spool.
        entry: what the spool knows.
        record: what transport knows; None when it is damaged.
    """

    worker: str
    spool: EmbeddedSpool
    entry: Entry
    record: MessageRecord | None


def folders(config: Config) -> list[Path]:
    """The folders of all workers that ever ran. Raises Stop when there is no spool at all."""
    root = config.resolve(config.server.spool)
    if not root.is_dir():
        raise Stop(
            EX_NOINPUT, f"there is no spool {root}", "no server has run with this configuration yet, or 'server.spool' names another"
        )
    return sorted(path for path in root.glob("worker-*") if (path / "journal").is_dir())


def run(path: Path, work: Callable[[dict[str, EmbeddedSpool]], Awaitable[T]]) -> T:
    """Opens the spools of a configuration, by the names of their folders, and works with them. Raises PenstockError; Stop."""
    # What opening makes is for the owner's eyes, as all in a spool.
    os.umask(0o077)
    found = folders(load(path))

    async def main() -> T:
        async with _opened(found) as spools:
            return await work(spools)

    return asyncio.run(main())


@asynccontextmanager
async def _opened(found: list[Path]) -> AsyncIterator[dict[str, EmbeddedSpool]]:
    spools: dict[str, EmbeddedSpool] = {}
    async with AsyncExitStack() as stack:
        for folder in found:
            _must_be_ours(folder)
            spool = EmbeddedSpool(EmbeddedSettings(folder, prewrite=False))
            try:
                recovered = await spool.open()
            except StorageLocked as error:
                hint = "stop the server first, or look into its log, which has the ids and reasons of held mail"
                raise Stop(EX_TEMPFAIL, f"the server is running: {error}", hint) from None
            stack.push_async_callback(spool.close)
            spools[folder.name] = spool
            for line in recovered.damaged:
                complain(EX_DATAERR, f"damage found and set aside: {line}")
        yield spools


def _must_be_ours(folder: Path) -> None:
    owner = folder.stat().st_uid
    if os.geteuid() != owner:
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"#{owner}"
        hint = f"run this as that user, so that the server can still write there: sudo -u {name} penstock spool ..."
        raise Stop(EX_NOPERM, f"the spool {folder} is that of user {name}", hint)


def messages(spools: dict[str, EmbeddedSpool], query: Query | None = None) -> Iterator[Kept]:
    """All messages that match, by spool and then by id."""
    for worker, spool in spools.items():
        for entry in tools.entries(spool, query):
            yield Kept(worker, spool, entry, _record(entry))


def find(spools: dict[str, EmbeddedSpool], ids: Sequence[str]) -> list[Kept]:
    """The messages with these ids, each once, in any case of letters. Raises Stop when one is not there."""
    found = []
    for wanted in dict.fromkeys(text.upper() for text in ids):
        entries = [(worker, spool, spool.get(wanted)) for worker, spool in spools.items()]
        kept = [Kept(worker, spool, entry, _record(entry)) for worker, spool, entry in entries if entry is not None]
        if not kept:
            hint = "it may have been delivered meanwhile; see: penstock spool list"
            raise Stop(EX_NOUSER, f"there is no message {wanted!r} in the spool", hint)
        found += kept
    return found


def _record(entry: Entry) -> MessageRecord | None:
    try:
        return decode_record(entry.record)
    except (msgspec.DecodeError, ValueError):
        return None


# --- the verbs that change something ---


async def _commit(found: list[Kept], change: Callable[[Kept], Change]) -> None:
    for spool in {id(kept.spool): kept.spool for kept in found}.values():
        await spool.commit([change(kept) for kept in found if kept.spool is spool])


def release_all(path: Path, ids: Sequence[str], skip: Sequence[str]) -> None:
    """Makes messages due at once, held or not, and keeps them from some bindings. Raises PenstockError; Stop."""
    known = [binding.name for binding in load(path).bindings]
    for name in skip:
        if name not in known:
            raise Stop(EX_USAGE, f"--skip: there is no binding {name!r}", f"there are: {', '.join(known) or 'none'}")

    def released(kept: Kept) -> Put:
        record = kept.entry.record
        if kept.record is not None and skip:
            names = [*kept.record.skip, *(name for name in skip if name not in kept.record.skip)]
            record = encode_record(msgspec.structs.replace(kept.record, skip=names))
        return Put(msgspec.structs.replace(kept.entry, record=record, held="", due=0.0))

    async def work(spools: dict[str, EmbeddedSpool]) -> list[Kept]:
        found = find(spools, ids)
        await _commit(found, released)
        return found

    for kept in run(path, work):
        was = f"held: {kept.entry.held}" if kept.entry.held else "not held"
        typer.echo(f"{kept.entry.id} goes on when the server is started; it was {printable(was)}")


def remove_all(path: Path, ids: Sequence[str]) -> None:
    """Deletes messages. Raises PenstockError; Stop."""

    async def work(spools: dict[str, EmbeddedSpool]) -> list[Kept]:
        found = find(spools, ids)
        await _commit(found, lambda kept: Remove(kept.entry.id))
        return found

    for kept in run(path, work):
        typer.echo(f"{kept.entry.id} is removed")


def export_to(path: Path, folder: Path, held: bool) -> None:
    """Copies messages into a folder. Raises PenstockError; Stop; typer.Exit when some content could not be read."""

    async def work(spools: dict[str, EmbeddedSpool]) -> list[str]:
        query = Query(held=True if held else None)
        return [line for spool in spools.values() for line in tools.export(spool, folder, query)]

    try:
        if folder.exists() and any(folder.iterdir()):
            raise Stop(EX_USAGE, f"the folder {folder} is not empty", "name a new one, so that no older copy is mixed in")
        problems = run(path, work)
        count = len(list(folder.glob("*.json"))) if folder.exists() else 0
    except OSError as error:
        raise PenstockError(f"the messages cannot be written to {folder}: {error.strerror or error}") from None
    typer.echo(f"{counted(count, 'message')} in {folder}")
    for line in problems:
        complain(EX_DATAERR, f"without its content, which is damaged: {line}")
    if problems:
        raise typer.Exit(EX_DATAERR)


def import_from(path: Path, folder: Path) -> None:
    """Takes in what was exported. Raises PenstockError; Stop."""
    ids = _importable(folder)

    async def work(spools: dict[str, EmbeddedSpool]) -> int:
        if not spools:
            raise Stop(EX_NOINPUT, "there is no worker's folder in the spool yet", "start the server once, and stop it")
        for name in ids:
            if any(spool.get(name) for spool in spools.values()):
                raise Stop(EX_DATAERR, f"message {name} is in the spool already", "remove its two files from the folder to leave it out")
        return await tools.bring_back(next(iter(spools.values())), folder)

    try:
        count = run(path, work)
    except OSError as error:
        raise Stop(EX_NOINPUT, f"the folder {folder} cannot be read: {error.strerror or error}") from None
    typer.echo(f"{counted(count, 'message')} taken in; {'it goes' if count == 1 else 'they go'} on when the server is started")


def _importable(folder: Path) -> list[str]:
    """The ids of what a folder holds, all of it whole: half an import would be hard to take back. Raises Stop."""
    ids = []
    for file in sorted(folder.glob("*.json")):
        try:
            entry = msgspec.json.decode(file.read_bytes(), type=Entry)
            decode_record(entry.record)
        except (OSError, ValueError) as error:
            raise Stop(EX_DATAERR, f"{file} is no exported message: {error}", "name a folder that 'penstock spool export' wrote") from None
        if entry.content and not file.with_suffix(".eml").exists():
            raise Stop(EX_DATAERR, f"{file.with_suffix('.eml')} is missing", f"remove {file} to leave this message out")
        ids.append(entry.id)
    if not ids:
        raise Stop(EX_NOINPUT, f"there is no message in {folder}", "name a folder that 'penstock spool export' wrote")
    return ids


def counted(number: int, name: str) -> str:
    """A number of things: "1 message", "2 messages"."""
    return f"{number} {name if number == 1 else f'{name}s'}"


def printable(text: str) -> str:
    """The text without what would steer a terminal: reasons and header fields hold what strangers wrote."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
