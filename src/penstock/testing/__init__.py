"""The test kit: sinks asked without a server, and a whole server in one process with a clock of its own.

A test gets these as the pytest fixtures ``sink_tester`` and ``mail_server``, which come with the package; the names here are for
annotations, and for use without pytest. Each is imported when it is looked at: pytest reads the plugin beside this file in every run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .captured import CapturedLog, LogLine
    from .tester import SinkTester, SinkTesters

_PLACES = {
    "CapturedLog": "captured",
    "LogLine": "captured",
    "SinkTester": "tester",
    "SinkTesters": "tester",
}
__all__ = ["CapturedLog", "LogLine", "SinkTester", "SinkTesters"]


def __getattr__(name: str) -> object:
    """The class of this name."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)
