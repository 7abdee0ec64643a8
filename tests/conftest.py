"""Tests that touch the loop run on the loop that workers run on: uvloop differs from asyncio's own in small things that matter.

And what a test says of the process's one log ends with the test: a command run within this process sets it up as its own process would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import structlog
import uvloop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What pytest-asyncio makes its loops with."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Each test begins with the log as the one before it found it."""
    saved = structlog.get_config()
    yield
    structlog.configure(**saved)
