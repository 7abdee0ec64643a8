"""The pytest plugin: the fixtures ``sink_tester`` and ``mail_server``, found by pytest wherever penstock is installed.

It also runs the coroutine tests that use them, so that no further plugin is needed. Where another one runs coroutine tests
(pytest-asyncio), it goes on doing so, and its loop is used; only a test of ``mail_server`` gets a loop of its own, since time passes
differently there.

Nothing of the server is imported before a test asks for it: this module is read in every run of pytest.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .tester import SinkTesters

_OURS = ("sink_tester", "mail_server")


@pytest.fixture
def sink_tester() -> Iterator[SinkTesters]:
    """Makes testers of sinks: ``sink_tester(MySink(settings))`` or ``sink_tester(MySink, directory=tmp_path)``."""
    from .captured import captured
    from .tester import SinkTesters

    testers = SinkTesters()
    with captured(testers.log):
        yield testers


def _used(item: pytest.Item) -> list[str]:
    """Which of our fixtures a coroutine test uses."""
    if not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(item.obj):
        return []
    return [name for name in _OURS if name in item.fixturenames]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Lets what our fixtures made end in the loop in which it began, before that loop is closed."""
    used = _used(item)
    if used:
        assert isinstance(item, pytest.Function)
        item.obj = _closing(item.obj, [item.funcargs[name] for name in used if name in item.funcargs])
    return (yield)


def _closing(test: Callable[..., Awaitable[None]], kits: list[Any]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def closing(*args: object, **values: object) -> None:
        try:
            await test(*args, **values)
        finally:
            for kit in kits:
                await kit.close()

    return closing


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Runs a coroutine test that uses our fixtures, where nobody else does."""
    if not _used(pyfuncitem):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names if name in pyfuncitem.funcargs}))
    return True
