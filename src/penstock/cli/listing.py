"""Listings: a table for people, plain columns when piped, JSON when asked for.

The table is the only thing that needs rich, which costs 50 ms to import; so it is imported here, when there is a table to show.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import typer

from .in_json import in_json

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a listing looks.

    Args:
        columns: in order.
        narrow: those that remain where there is no room for all; the rest is then named below the table.
        right: columns of numbers.
        fold: columns that may be broken into several lines.
    """

    columns: tuple[str, ...]
    narrow: tuple[str, ...]
    right: tuple[str, ...] = ()
    fold: tuple[str, ...] = ()


def show(rows: Sequence[Row], layout: Layout, as_json: bool) -> None:
    """Writes rows to standard output."""
    if as_json:
        typer.echo(in_json(list(rows)))
    elif sys.stdout.isatty():
        _table(rows, layout)
    else:
        _plain([[str(row[column]) for column in layout.columns] for row in rows], layout.columns)


def _table(rows: Sequence[Row], layout: Layout) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    width = sum(2 + max(len(str(row[column])) for row in [*rows, {column: column}]) for column in layout.columns)
    columns = layout.columns if width <= console.width else layout.narrow
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        fold = column in layout.fold
        table.add_column(column, justify="right" if column in layout.right else "left", overflow="fold", no_wrap=not fold)
    for row in rows:
        table.add_row(*(Text(str(row[column])) for column in columns))
    console.print(table)
    if columns != layout.columns:
        left_out = ", ".join(column for column in layout.columns if column not in columns)
        typer.echo(f"No room here for {left_out}: --json, or a wider terminal, shows all.")


def _plain(cells: list[list[str]], columns: Sequence[str]) -> None:
    """Columns for grep and awk: no line is cut or folded, and an empty cell is a dash."""
    lines = [list(columns), *([cell or "-" for cell in row] for row in cells)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
