"""The values that administrators write as text: durations, sizes, percentages, dates, addresses to listen on."""

from __future__ import annotations

import os
import re
from datetime import date, datetime, time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Self

from ..events.secret import Secret
from ..queue.meters import Budget

__all__ = ["Allowance", "Duration", "Endpoint", "Moment", "Percent", "Rate", "Secret", "Size", "located"]

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")
# Without brackets nobody could tell the port of an IPv6 address from its last part.
_ENDPOINT = re.compile(r"(?:\[([^\]]*)\]|([0-9.]+)):([0-9]{1,5})")
_RATE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*([A-Za-z]+)\s*")
_PERCENT = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]+)?)\s*%?\s*")
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
# More is a slip: a hundred years, and a pebibyte. What is infinite could not be counted with.
# sun_path of Linux has 108 octets, and a zero at its end.
_LONGEST_PATH = 107
_LONGEST, _LARGEST = 100 * 366 * 86400, 1024**5


class Duration(float):
    """Seconds, written as ``"5 minutes"``, ``"5m"``, ``"1.5h"``, or a number of seconds."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises ValueError with what a duration looks like."""
        return cls(_amount(value, _SECONDS, "a duration, such as '30s', '5 minutes' or '4h'", _LONGEST))


class Size(int):
    """Octets, written as ``"25 MiB"``, ``"64k"``, or a number of octets."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises ValueError with what a size looks like."""
        return cls(int(_amount(value, _OCTETS, "a size, such as '64 KiB' or '25 MiB'", _LARGEST)))


def _amount(value: object, units: dict[str, float] | dict[str, int], like: str, most: int) -> float:
    number, unit = value, ""
    if isinstance(value, str) and (found := _NUMBER.fullmatch(value)):
        number, unit = float(found[1]), found[2].lower()
    if not isinstance(number, int | float) or isinstance(number, bool) or unit not in units:
        raise ValueError(f"{value!r} is not {like}")
    # Written so that "nan", which compares with nothing, fails too.
    if not 0 <= number <= most or not number * units[unit] <= most:
        shown = repr(value)
        raise ValueError(f"{shown if len(shown) < 40 else 'that'} is not {like}")
    return float(number * units[unit])


class Rate(float):
    """Events a second, written as ``"100/min"``, ``"5/s"``, ``"2000/hour"``; 0 or "" is without limit."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises ValueError with what a rate looks like."""
        if value in ("", 0):
            return cls(0)
        found = _RATE.fullmatch(value) if isinstance(value, str) else None
        if not found or found[2].lower() not in _SECONDS:
            raise ValueError(f"{value!r} is not a rate, such as '100/min' or '5/s'")
        return cls(float(found[1]) / _SECONDS[found[2].lower()])


class Allowance(str):
    """So many in so long, written as ``"100/min"``, ``"20/10 minutes"``; "" or 0 is without limit."""

    @property
    def budget(self) -> Budget:
        """As it is counted with."""
        return Budget.parse(self) if self else Budget(0, 1)

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises ValueError with what a rate looks like."""
        if value == 0 and not isinstance(value, bool):
            return cls("")
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a rate, such as '100/min', '20/10 minutes' or '5/s'")
        if value:
            Budget.parse(value)
        return cls(value)


class Percent(float):
    """A part of the traffic, written as ``"10%"``, ``"0.5 %"``, or a number of percent."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises ValueError with what a percentage looks like."""
        found = _PERCENT.fullmatch(value) if isinstance(value, str) else None
        number = float(found[1]) if found else value
        # Written so that "nan", which compares with nothing, fails too.
        if not isinstance(number, int | float) or isinstance(number, bool) or not 0 <= number <= 100:
            raise ValueError(f"{value!r} is not a percentage, such as '10%'")
        return cls(number)


class Moment(float):
    """Seconds since 1970, written as a date and time, ``2027-01-31T18:00:00Z``, or a date, which means its first moment.

    Without an offset it is local time, as in all that the administrator reads beside it; 0 or "" stands for never.
    """

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises ValueError with what a date looks like."""
        if value in ("", 0) and not isinstance(value, bool):
            return cls(0)
        moment = value
        try:
            if isinstance(value, str):
                moment = datetime.fromisoformat(value)
            elif isinstance(value, date) and not isinstance(value, datetime):
                moment = datetime.combine(value, time.min)
            if isinstance(moment, datetime):
                return cls(moment.timestamp())
        except (ValueError, OverflowError, OSError):
            pass
        raise ValueError(f"{str(value)[:40]!r} is not a date, such as 2027-01-31 or 2027-01-31T18:00:00Z")


class Endpoint(str):
    """An address to listen on: ``"0.0.0.0:25"``, ``"[::1]:2525"``, or ``"unix:/run/penstock/lmtp"``; port 0 takes a free one.

    Of a path, ``host`` is the whole text, and ``port`` is 0.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises ValueError with what an address looks like."""
        if isinstance(value, str) and value.startswith("unix:"):
            return cls._at_path(value)
        found = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
        try:
            if not found or int(found[3]) > 65535:
                raise ValueError
            bare = str(IPv6Address(found[1])) if found[1] else str(IPv4Address(found[2]))
        except ValueError:
            raise ValueError(f"{value!r} is not an address to listen on, such as '0.0.0.0:25' or '[::]:25'") from None
        endpoint = cls(value)
        endpoint.host, endpoint.port = bare, int(found[3])
        return endpoint

    @classmethod
    def _at_path(cls, value: str) -> Self:
        path = value.removeprefix("unix:")
        if not path.startswith("/") or "\x00" in path or len(path.encode()) > _LONGEST_PATH:
            raise ValueError(f"{value[:120]!r} is no socket: write 'unix:' and an absolute path of at most {_LONGEST_PATH} octets")
        endpoint = cls(f"unix:{os.path.normpath(path)}")
        endpoint.host, endpoint.port = str(endpoint), 0
        return endpoint


def located(folder: Path, path: Path | str) -> Path:
    """A path of the file, taken from the file's folder, without the ``..`` that would be in every log line."""
    # Normal text is right here, since nothing in front of the path's own beginning is a symbolic link any more.
    return Path(os.path.normpath(folder.resolve() / path))
