"""Targets for files: aliases, virtual tables, rows, rules, configuration, captures, traces, and the spool.

The reader of a file may refuse it with the documented exception that names place and reason; it may not invent anything.
"""

from __future__ import annotations

import asyncio
import io
import random
import shutil
import tempfile
import tomllib
from functools import cache
from pathlib import Path

import msgspec

from penstock.capture.format import CapturedSession, Unreadable, encode, read_lines
from penstock.config.load import load
from penstock.errors import ConfigError, SpoolDamaged, StorageDamaged, StorageError
from penstock.events.catalog import EndOfData, RcptTo
from penstock.events.pattern import address_test, domain_test, glob
from penstock.events.rule import Match, compile_match
from penstock.mail.address import Address
from penstock.mail.content import MemoryContent
from penstock.mail.message import decode_record, encode_record
from penstock.observe.trace_entries import decode_entry, encode_entry
from penstock.sinks.aliasfile import read_aliases, read_list
from penstock.sinks.rows import entry_of
from penstock.sinks.virtual import read_virtual
from penstock.storage.base import Entry, Put, Query
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool

from .reading import Reader

_MESSAGES = 12


@cache
def _folder() -> Path:
    """A folder for the files of this process, on a memory file system where there is one."""
    room = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="penstock-fuzz-", dir=room if room.is_dir() else None))


def _written(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


def aliases(data: bytes) -> None:
    """A file in the syntax of /etc/aliases: names and destinations, or the line that is wrong."""
    path = _written("aliases", data)
    for read in (read_aliases, read_list):
        try:
            found = read(path, "example.com")
        except ConfigError as error:
            assert str(path) in str(error)
            continue
        for alias in found.values() if isinstance(found, dict) else ():
            assert alias.destinations
            assert alias.name == alias.name.lower()


def virtual(data: bytes) -> None:
    """A file in the syntax of virtual(5)."""
    path = _written("virtual", data)
    try:
        found = read_virtual(path, "example.com")
    except ConfigError as error:
        assert str(path) in str(error)
        return
    assert all(found.values())


def rows(data: bytes) -> None:
    """Rows of somebody's table: an entry, or an entry that says what is wrong with it."""
    read = Reader(data)
    key = read.text(30)
    table = [[read.text(60), read.text(30), read.number(9)] for _ in range(1 + read.number(4))]
    entry = entry_of(key, ["destination", "owner", "quota"], table)
    assert entry.problem or entry.mailbox or entry.addresses is not None


def rules(data: bytes) -> None:
    """Rule strings of the original and patterns of match tables: conditions, or a ValueError that names the key; matching ends."""
    read = Reader(data)
    rule, value = read.text(120), read.text(200)
    pattern = read.rest.decode("utf-8", "replace")
    for match, event in (
        (Match(rule=rule), RcptTo),
        (Match(rule=pattern), EndOfData),
        (Match(recipient=pattern, sender=rule), RcptTo),
        (Match(header={rule: pattern}), EndOfData),
    ):
        try:
            compile_match(match, event)
        except ValueError:
            continue
    if pattern:
        compiled = glob(pattern)
        assert compiled.fullmatch(pattern.replace("*", "x"))
        compiled.fullmatch(value)
        address_test(pattern)(Address(value, "example.com"))
        domain_test(pattern)(value)


def config(data: bytes) -> None:
    """A configuration: accepted, or refused with the place; never anything else, and no value of a secret in what is said."""
    path = _written("penstock.toml", data)
    try:
        load(path)
    except ConfigError as error:
        assert error.args
    try:
        tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return


def capture(data: bytes) -> None:
    """A file of captured sessions: each line a session that encodes to itself, or what is wrong with it; as many as there are lines."""
    found = list(read_lines(io.BytesIO(data)))
    assert len(found) <= data.count(b"\n") + 1
    for one in found:
        if isinstance(one, CapturedSession):
            assert list(read_lines(io.BytesIO(encode(one)))) == [one]
            for step in one.steps:
                assert step.raw is not None
        else:
            assert isinstance(one, Unreadable)


def trace(data: bytes) -> None:
    """A line of a trace file: an entry that encodes to itself, or None; what has no room is shortened, not broken."""
    entry = decode_entry(data)
    if entry is None:
        return
    line = encode_entry(entry, len(data) * 8 + 1000)
    assert decode_entry(line) is not None
    for room in (4000, 800, 300):
        try:
            short = encode_entry(entry, room)
        except ValueError:
            continue
        assert len(short) <= room
        assert decode_entry(short) is not None


def record(data: bytes) -> None:
    """The record of a message in the spool: reads as what it writes, or a DecodeError."""
    try:
        found = decode_record(data)
    except msgspec.DecodeError:
        return
    assert encode_record(decode_record(encode_record(found))) == encode_record(found)


def _body(name: str) -> bytes:
    return random.Random(name).randbytes(700)


@cache
def _good_spool() -> Path:
    """A spool that was copied while it worked: it has no mark of a clean end, so that all of it is replayed."""
    folder = _folder() / "good"

    async def fill() -> None:
        spool = EmbeddedSpool(_settings(folder))
        await spool.open()
        for number in range(_MESSAGES):
            name = f"m{number}"
            await spool.commit([Put(Entry(name, "submitted", b"envelope " + name.encode(), "c-" + name), MemoryContent(_body(name)))])
        shutil.copytree(folder, folder.with_name("copy"))
        await spool.close()

    asyncio.run(fill())
    return folder.with_name("copy")


def _settings(folder: Path) -> EmbeddedSettings:
    return EmbeddedSettings(folder, segment_size=1 << 16, large_content=50_000, settle_after=600, append_delay=0.001, prewrite=False)


def _damage(folder: Path, read: Reader) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    for _ in range(1 + read.number(4)):
        path = files[read.number(len(files))]
        size = path.stat().st_size
        if not size:
            continue
        place = int(read.number(65536) / 65536 * size) if read.number(2) else read.number(size)
        kind = read.number(4)
        with path.open("r+b") as file:
            if kind == 0:
                file.truncate(place)
                continue
            file.seek(place)
            file.write(bytes(512) if kind == 1 else read.rest_of(1 + read.number(64)))


def spool(data: bytes) -> None:
    """A spool whose files were damaged anyhow: it opens or says why not, and every message that it has is one that was put into it."""
    good, broken = _good_spool(), _folder() / "broken"
    shutil.rmtree(broken, ignore_errors=True)
    shutil.copytree(good, broken)
    _damage(broken, Reader(data))
    asyncio.run(_look(broken))


async def _look(folder: Path) -> None:
    opened = EmbeddedSpool(_settings(folder))
    try:
        await opened.open()
    except (SpoolDamaged, StorageError):
        return
    try:
        known = {f"m{number}" for number in range(_MESSAGES)}
        for entry in opened.select(Query(), limit=1000).entries:
            assert entry.id in known, entry.id
            assert entry.record == b"envelope " + entry.id.encode()
            try:
                assert opened.content(entry).read() == _body(entry.id)
            except StorageDamaged:
                continue
    finally:
        await opened.close()


TARGETS = {
    "aliases": aliases,
    "virtual": virtual,
    "rows": rows,
    "rules": rules,
    "config": config,
    "capture": capture,
    "trace": trace,
    "record": record,
    "spool": spool,
}
