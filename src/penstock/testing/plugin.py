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
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .mail_server import MailServer
    from .tester import SinkTesters

_OURS = ("sink_tester", "mail_server")
_TEST = pytest.StashKey[Callable[..., Coroutine[Any, Any, None]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Lets tests import the sinks beside a ``penstock.toml``, from the folders from which the server imports them."""
    if (config.rootpath / "penstock.toml").is_file():
        for folder in (config.rootpath / "sinks", config.rootpath):
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))


@pytest.fixture
def sink_tester() -> Iterator[SinkTesters]:
    """Makes testers of sinks: ``sink_tester(MySink(settings))`` or ``sink_tester(MySink, directory=tmp_path)``."""
    from .captured import captured
    from .tester import SinkTesters

    testers = SinkTesters()
    with captured(testers.log):
        yield testers


@pytest.fixture
def mail_server(tmp_path: Path) -> Iterator[MailServer]:
    """The whole server in this process, with a network, a DNS and a clock of the test's."""
    from .captured import CapturedLog, captured
    from .mail_server import MailServer
    from .virtual import VirtualLoop

    loop = VirtualLoop()
    with captured(CapturedLog()) as log:
        yield MailServer(tmp_path, loop, log)
    if not loop.is_closed():
        loop.close()


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
        item.obj = _closing(item.obj, [item.funcargs[name] for name in used])
        item.stash[_TEST] = item.obj
    return (yield)


def _closing(test: Callable[..., Awaitable[None]], kits: list[Any]) -> Callable[..., Coroutine[Any, Any, None]]:
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
    """Runs a coroutine test that uses our fixtures: where nobody else does, and where the loop has to be that of the server."""
    test = pyfuncitem.stash.get(_TEST, None)
    server: MailServer | None = pyfuncitem.funcargs.get("mail_server")  # type: ignore[assignment]  # what the fixture above yields
    if test is None or (server is None and not inspect.iscoroutinefunction(pyfuncitem.obj)):
        return None
    values = {name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters if name in pyfuncitem.funcargs}
    with asyncio.Runner(loop_factory=None if server is None else lambda: server.loop) as runner:
        runner.run(test(**values))
    return True
