"""What an administrator does with a spool when no server has it open: list, print, verify, carry away and bring back.

Functions only; commands are made of them elsewhere. ``check`` reads files and nothing else, so it may run beside a working server, whose
last group it may then see half-written. All others work on an open spool, of any kind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from ...errors import StorageDamaged
from ...mail.content import CHUNK, Content, chunks
from ..base import Entry, Put, Query, Spool
from .format import BLOCK, Place, SegmentHeader, checksums, scan


@dataclass(slots=True)
class Report:
    """What a check found.

    Args:
        segments: journal segments read.
        records: whole records in them.
        files: large contents that records name and that are there.
        problems: one line for each thing that is not as it should be.
    """

    segments: int = 0
    records: int = 0
    files: int = 0
    problems: list[str] = field(default_factory=list)


def entries(spool: Spool, query: Query | None = None) -> Iterator[Entry]:
    """All entries that match, in order of id, whatever their number."""
    cursor = ""
    while True:
        page = spool.select(query or Query(), cursor)
        yield from page.entries
        cursor = page.cursor
        if not cursor:
            return


def cat(spool: Spool, entry_id: str, output: BinaryIO) -> None:
    """Writes the content of an entry.

    Raises: KeyError when there is no such entry; StorageDamaged.
    """
    entry = spool.get(entry_id)
    if entry is None:
        raise KeyError(entry_id)
    output.writelines(chunks(spool.content(entry)))


def export(spool: Spool, folder: Path, query: Query | None = None) -> list[str]:
    """Writes each entry as ``ID.json`` and its content as ``ID.eml``; one line for each content that could not be read.

    Raises: OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    for entry in entries(spool, query):
        name = entry.id.replace("/", "_")
        (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(entry)))
        if entry.content:
            try:
                with (folder / f"{name}.eml").open("wb") as file:
                    cat(spool, entry.id, file)
            except StorageDamaged as error:
                (folder / f"{name}.eml").unlink()
                problems.append(f"{entry.id}: {error}")
    return problems


async def bring_back(spool: Spool, folder: Path) -> int:
    """Puts everything that ``export`` wrote into a spool, and gives the number of entries; entries with the same id are replaced.

    Raises: OSError; StorageFull; StorageUnavailable; msgspec.DecodeError.
    """
    known: set[str] = set()
    count = 0
    for entry, eml in _exported(folder):
        content: Content | None = None
        if entry.content not in known and eml is not None:
            known.add(entry.content)
            content = await _read_in(spool, eml)
        await spool.commit([Put(entry, content)])
        count += 1
    return count


def _exported(folder: Path) -> Iterator[tuple[Entry, Path | None]]:
    for path in sorted(folder.glob("*.json")):
        eml = path.with_suffix(".eml")
        yield msgspec.json.decode(path.read_bytes(), type=Entry), eml if eml.exists() else None


async def _read_in(spool: Spool, path: Path) -> Content:
    writer = spool.writer()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            await writer.write(chunk)
    return await writer.finish()


def check(directory: Path) -> Report:
    """Reads every octet of a spool's folder, compares all checksums, and changes nothing.

    Args:
        directory: the spool's folder.

    Raises: OSError.
    """
    report = Report()
    named: dict[str, Place] = {}
    following = 0
    for path in sorted((directory / "journal").glob("*.segment")):
        data = path.read_bytes()
        header = SegmentHeader.unpack(data[:BLOCK])
        if header is None:
            report.problems.append(f"{path}: no whole header")
            continue
        if following and header.number != following:
            report.problems.append(f"{path}: segment {following} is missing")
        following = header.number + 1
        report.segments += 1
        _check_segment(path, data, header, report, named)
    _check_files(directory / "large", named, report)
    _check_index(directory / "index.sqlite", report)
    return report


def _check_segment(path: Path, data: bytes, header: SegmentHeader, report: Report, named: dict[str, Place]) -> None:
    expected = header.first
    for record in scan(data, header):
        if record.sequence > expected:
            report.problems.append(f"{path}: records {expected} to {record.sequence - 1} are missing")
        expected = record.sequence + 1
        if record.meta is None:
            report.problems.append(f"{path}: record {record.sequence} at {record.offset} does not match its checksum")
            continue
        report.records += 1
        report.problems += [
            f"{path}: content {content_id} of record {record.sequence} does not match its checksum" for content_id in record.broken
        ]
        named.update((place.file, place) for place in record.places.values() if place.file)


def _check_files(folder: Path, named: dict[str, Place], report: Report) -> None:
    # A file that a record names but that is not there is no problem by itself: its entry was probably removed since.
    for path in sorted(folder.iterdir()):
        place = named.get(path.name)
        if place is None:
            report.problems.append(f"{path}: no record names it")
            continue
        report.files += 1
        if path.stat().st_size != place.size or checksums(path.read_bytes()) != place.checksums:
            report.problems.append(f"{path}: does not match its checksums")


def _check_index(path: Path, report: Report) -> None:
    if not path.exists():
        return
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        answers = [row[0] for row in database.execute("PRAGMA integrity_check(10)")]
        report.problems += [f"{path}: {answer}" for answer in answers if answer != "ok"]
    except sqlite3.DatabaseError as error:
        report.problems.append(f"{path}: {error}")
    finally:
        database.close()
