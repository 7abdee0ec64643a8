"""The values that administrators write as text: durations, sizes, addresses to listen on."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Self

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")
_SECONDS = {
    "": 1.0, "ms": 0.001,
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0,
    "w": 604800.0, "week": 604800.0, "weeks": 604800.0,
}  # fmt: skip
_OCTETS = {
    "": 1, "b": 1,
    "k": 1024, "kb": 1000, "kib": 1024,
    "m": 1024**2, "mb": 1000**2, "mib": 1024**2,
    "g": 1024**3, "gb": 1000**3, "gib": 1024**3,
}  # fmt: skip


class Duration(float):
    """Seconds, written as ``"5 minutes"``, ``"5m"``, ``"1.5h"``, or a number of seconds."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises ValueError with what a duration looks like."""
        return cls(_amount(value, _SECONDS, "a duration, such as '30s', '5 minutes' or '4h'"))


class Size(int):
    """Octets, written as ``"25 MiB"``, ``"64k"``, or a number of octets."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises ValueError with what a size looks like."""
        return cls(int(_amount(value, _OCTETS, "a size, such as '64 KiB' or '25 MiB'")))


def _amount(value: object, units: dict[str, float] | dict[str, int], like: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    found = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if not found or found[2].lower() not in units:
        raise ValueError(f"{value!r} is not {like}")
    return float(found[1]) * units[found[2].lower()]


class Endpoint(str):
    """An address to listen on: ``"0.0.0.0:25"``, ``"[::1]:2525"``; port 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises ValueError with what an address looks like."""
        host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
        bare = host.removeprefix("[").removesuffix("]")
        try:
            ip_address(bare)
            if not colon or not 0 <= int(port) <= 65535:
                raise ValueError
        except ValueError:
            raise ValueError(f"{value!r} is not an address to listen on, such as '0.0.0.0:25' or '[::]:25'") from None
        endpoint = cls(value)
        endpoint.host, endpoint.port = bare, int(port)
        return endpoint


def located(folder: Path, path: Path | str) -> Path:
    """A path of the file, taken from the file's folder, without the ``..`` that would be in every log line."""
    # Normal text is right here, since nothing in front of the path's own beginning is a symbolic link any more.
    return Path(os.path.normpath(folder.resolve() / path))
