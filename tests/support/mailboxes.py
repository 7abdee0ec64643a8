"""Reads what was delivered: which token lies where, how often, and whether it is whole.

Files are read once, however often one asks, so waiting for the last of many thousand messages stays cheap.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .messages import inspect
from .waiting import wait_until


@dataclass(frozen=True, slots=True)
class Copy:
    """One delivered file.

    Args:
        path: where it lies.
        digest: of the content from its token on; equal to the sent message's when it is exact to the byte.
        whole: the body matches the digest that the message itself carries.
    """

    path: Path
    digest: str
    whole: bool


@dataclass(slots=True)
class Comparison:
    """Delivered mail held against what was acknowledged.

    Args:
        missing: acknowledged, and no copy found.
        corrupt: files that are not what was sent.
        duplicates: acknowledged messages with more than one copy, and how many copies.
        extra: tokens delivered that were not acknowledged; allowed when their reply got lost.
    """

    missing: set[str] = field(default_factory=set)
    corrupt: list[Path] = field(default_factory=list)
    duplicates: dict[str, int] = field(default_factory=dict)
    extra: set[str] = field(default_factory=set)


class Mailboxes:
    """All Maildirs and drop folders below a folder.

    Args:
        folder: where they are.
        unix_lines: the files' lines end with LF alone, as most other servers deliver; they are compared as if with CRLF.
    """

    def __init__(self, folder: Path, *, unix_lines: bool = False) -> None:
        self.folder = folder
        self._unix_lines = unix_lines
        self.copies: dict[str, list[Copy]] = {}
        self.strangers: list[Path] = []  # files without a token
        self._seen: set[str] = set()

    def refresh(self) -> dict[str, list[Copy]]:
        """Reads what is new, and returns token to copies."""
        for path in _files(str(self.folder)):
            if path not in self._seen:
                self._read(path)
        return self.copies

    def _read(self, path: str) -> None:
        try:
            data = Path(path).read_bytes()
        except FileNotFoundError:  # moved while we looked
            return
        self._seen.add(path)
        if self._unix_lines:
            data = data.replace(b"\n", b"\r\n")
        found = inspect(data)
        if found is None:
            self.strangers.append(Path(path))
        else:
            token, digest, whole = found
            self.copies.setdefault(token, []).append(Copy(Path(path), digest, whole))

    def compare(self, acknowledged: Mapping[str, str]) -> Comparison:
        """Holds what is there now against token and digest of what was acknowledged."""
        copies = self.refresh()
        result = Comparison(corrupt=list(self.strangers))
        result.missing = set(acknowledged) - set(copies)
        result.extra = set(copies) - set(acknowledged)
        for token, found in copies.items():
            expected = acknowledged.get(token)
            result.corrupt += [c.path for c in found if not c.whole or (expected and c.digest != expected)]
            if len(found) > 1:
                result.duplicates[token] = len(found)
        return result

    def wait_for(self, tokens: Mapping[str, str] | set[str], timeout: float = 30.0) -> None:
        """Waits until each of the tokens has a copy."""
        left = set(tokens)

        def all_there() -> bool:
            left.difference_update(self.refresh())
            return not left

        try:
            wait_until(all_there, "all messages delivered", timeout, interval=0.1)
        except AssertionError as late:
            raise AssertionError(f"{late}; {len(left)} of {len(tokens)} missing, e.g. {sorted(left)[:5]}") from None


def _files(folder: str) -> Iterator[str]:
    """Delivered files: in ``new`` and ``cur`` of Maildirs, and ``.eml`` anywhere; ``tmp`` holds nothing delivered."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    is_box = Path(folder).name in {"new", "cur"}
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name != "tmp":
                yield from _files(entry.path)
        elif is_box or entry.name.endswith(".eml"):
            yield entry.path
