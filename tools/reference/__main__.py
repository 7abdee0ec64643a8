"""``python -m tools.reference``: writes all pages; with ``--check`` only says which differ, and ends with 1 when one does."""

from __future__ import annotations

import sys
from pathlib import Path

from . import event_pages, extension_page, limits_page, other_pages, verdict_pages

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
MADE = ("events", "verdicts", "properties", "match", "settings")


def pages() -> dict[str, str]:
    """All pages, by path in the folder."""
    return {**event_pages.pages(), **verdict_pages.pages(), **other_pages.pages(), **extension_page.page(), **limits_page.page()}


def differing() -> list[str]:
    """The pages that are not as the code says, or should not be there."""
    made = pages()
    there = {str(path.relative_to(FOLDER)) for part in MADE for path in (FOLDER / part).glob("*.md")}
    there |= {name for name in (extension_page.NAME, limits_page.NAME) if (FOLDER / name).exists()}
    wrong = [name for name, text in made.items() if name not in there or (FOLDER / name).read_text() != text]
    return sorted({*wrong, *(there - made.keys())})


def main() -> int:
    """Writes, or checks."""
    if "--check" in sys.argv[1:]:
        wrong = differing()
        for name in wrong:
            print(f"docs/reference/{name} is not what the code says; run python -m tools.reference")
        return 1 if wrong else 0
    made = pages()
    for name in differing():
        if name not in made:
            (FOLDER / name).unlink()
    for name, text in made.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    print(f"{len(made)} pages in {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
