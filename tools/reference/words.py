"""What the code says of itself: docstrings, signatures and defaults, as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field
from enum import Enum
from pathlib import Path
from typing import Any

HERE = "This page is made from the code by `python -m tools.reference`; edit the docstrings instead.\n"
_SECTIONS = re.compile(r"^(Args|Raises|Source|Returns):\s*", re.MULTILINE)
_CODE = re.compile(r"``(.+?)``")


def snake(name: str) -> str:
    """The name of a file: ``rcpt_to`` for RcptTo."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def marked(text: str) -> str:
    """A docstring's text as Markdown: code in single backquotes."""
    return _CODE.sub(lambda found: f"`{found[1]}`", text).replace("\\\\", "\\")


def said(thing: object) -> str:
    """What the docstring says before its sections, paragraph by paragraph."""
    text = inspect.getdoc(thing) or ""
    cut = _SECTIONS.search(text)
    return marked((text[: cut.start()] if cut else text).strip())


def section(thing: object, name: str) -> str:
    """One section of a docstring, in one line; "" when there is none."""
    text = inspect.getdoc(thing) or ""
    found = re.search(rf"^{name}:\s*(.*?)(?=^(?:Args|Raises|Source|Returns):|\Z)", text, re.MULTILINE | re.DOTALL)
    return marked(" ".join(found[1].split())) if found else ""


def arguments(thing: object) -> dict[str, str]:
    """What the docstring says of each argument, or field; several may share a line."""
    text = inspect.getdoc(thing) or ""
    found = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    told: dict[str, str] = {}
    for part in re.finditer(r"^    (\w[\w, ]*): (.*(?:\n {5,}.*)*)", found[1] if found else "", re.MULTILINE):
        for name in part[1].split(","):
            told[name.strip()] = marked(" ".join(part[2].split()))
    return told


def typed(annotation: object) -> str:
    """A type as it is written."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"\b(?:typing|collections\.abc|penstock(?:\.\w+)+|datetime|pathlib)\.", "", text)
    return text.replace("|", "\\|")


def default(one: Field[Any]) -> str:
    """The default of a dataclass field, as code; "required" without one."""
    value = one.default
    if one.default_factory is not MISSING:
        value = "the host's own name" if one.name == "hostname" else one.default_factory()
    return "required" if value is MISSING else shown(value)


def shown(value: object) -> str:
    """A value as code."""
    if isinstance(value, Path):
        return f'`"{value}"`'
    if isinstance(value, Enum):
        return f"`{value.name}`"
    if isinstance(value, float) and value == int(value):
        return f"`{int(value)}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    return f"`{value!r}`"


def signature(function: Callable[..., object]) -> str:
    """Arguments and result of a method, without self."""
    found = inspect.signature(function)
    listed = [one.replace(annotation=one.annotation) for name, one in found.parameters.items() if name != "self"]
    text = str(found.replace(parameters=listed)).replace("'", "")
    return re.sub(r"\b(?:typing|collections\.abc|penstock(?:\.\w+)+)\.", "", text)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table."""
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def sentence(text: str) -> str:
    """The first sentence of a text."""
    return re.split(r"(?<=[.])\s", text.replace("\n", " "), maxsplit=1)[0]
