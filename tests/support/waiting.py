"""Waiting for a condition with a deadline, so that no test sleeps and hopes.

Every wait says what it waits for; when time is over that sentence is the failure, with what was seen last.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, timeout: float = 10.0, interval: float = 0.02) -> T:
    """Calls the condition until it gives something true, and returns that.

    Raises:
        AssertionError: it did not within ``timeout`` seconds; names ``what`` and the last value.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain: {what} (last: {value!r})")
        time.sleep(interval)
