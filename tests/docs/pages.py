"""Reads the documentation: pages, their fenced blocks, sections and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "examples" / "README.md", *(ROOT / "docs").rglob("*.md")])


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Args:
        page: where it is.
        line: the number of its first line.
        language: what stands behind the fence.
        text: what is in it.
    """

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, language: str = "") -> Iterator[Block]:
    """The fenced blocks of a page, or those in one language."""
    text = page.read_text("utf-8")
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if not language or match[1] == language:
            yield Block(page, text.count("\n", 0, match.start()) + 2, match[1], match[2])


def sections(page: Path, mark: str) -> dict[str, str]:
    """The text of each section below headings of this level."""
    parts = re.split(rf"^{mark} (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {
        title: re.split(r"^#{1,3} ", text, maxsplit=1, flags=re.MULTILINE)[0] for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without headings."""
    lines = [line.strip().strip("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]
    return [row for index, row in enumerate(cells) if not _ruler(row) and not (index + 1 < len(cells) and _ruler(cells[index + 1]))]


def _ruler(row: list[str]) -> bool:
    return all(re.fullmatch(r":?-+:?", cell) for cell in row)
