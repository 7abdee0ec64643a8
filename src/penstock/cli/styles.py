"""Colours, where somebody looks: none when piped, and none with NO_COLOR (no-color.org)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

Style = Callable[[str], str]


def _style(**how: bool | str) -> Style:
    def painted(text: str) -> str:
        return typer.style(text, **how) if text and sys.stdout.isatty() and "NO_COLOR" not in os.environ else text  # type: ignore[arg-type]

    return painted


bold = _style(bold=True)
dim = _style(dim=True)
good = _style(fg="green")
bad = _style(fg="red")
doubt = _style(fg="yellow")
