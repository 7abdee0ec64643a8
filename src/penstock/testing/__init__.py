"""The test kit: sinks asked without a server, and a whole server in one process with a clock of its own.

A test gets these as the pytest fixtures ``sink_tester`` and ``mail_server``, which come with the package; the names here are for
annotations, and for use without pytest. Each is imported when it is looked at: pytest reads the plugin beside this file in every run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .captured import CapturedLog, LogLine
    from .client import Client, Sent
    from .mail_server import MailServer, Queued
    from .mailbox import Mail
    from .names import ScriptedDns
    from .remote import Received, RemoteServer
    from .server import InProcess, World
    from .tester import SinkTester, SinkTesters
    from .virtual import NothingHappensError, VirtualLoop

_PLACES = {
    "CapturedLog": "captured",
    "Client": "client",
    "InProcess": "server",
    "LogLine": "captured",
    "Mail": "mailbox",
    "MailServer": "mail_server",
    "NothingHappensError": "virtual",
    "Queued": "mail_server",
    "Received": "remote",
    "RemoteServer": "remote",
    "ScriptedDns": "names",
    "Sent": "client",
    "SinkTester": "tester",
    "SinkTesters": "tester",
    "VirtualLoop": "virtual",
    "World": "server",
}
__all__ = [
    "CapturedLog",
    "Client",
    "InProcess",
    "LogLine",
    "Mail",
    "MailServer",
    "NothingHappensError",
    "Queued",
    "Received",
    "RemoteServer",
    "ScriptedDns",
    "Sent",
    "SinkTester",
    "SinkTesters",
    "VirtualLoop",
    "World",
]


def __getattr__(name: str) -> object:
    """The class of this name."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)
