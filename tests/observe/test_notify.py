"""What the service manager is told: sd_notify(3), to a socket of the test's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.observe.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "notify"))
    sock.settimeout(5)
    yield sock
    sock.close()


def _told(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_it_is_told_what_happens(manager: socket.socket) -> None:
    """READY with a status, RELOADING with the time that systemd asks for, STOPPING, WATCHDOG."""
    notifier = Notifier(manager.getsockname())
    notifier.ready("serving")
    assert _told(manager) == ["READY=1", "STATUS=serving"]
    notifier.reloading()
    first, moment, _ = _told(manager)
    assert first == "RELOADING=1"
    assert int(moment.removeprefix("MONOTONIC_USEC=")) > 0
    notifier.alive()
    assert _told(manager) == ["WATCHDOG=1"]
    notifier.stopping("ending")
    assert _told(manager) == ["STOPPING=1", "STATUS=ending"]


def test_a_text_cannot_say_anything_else(manager: socket.socket) -> None:
    """A line feed in a status does not begin another variable."""
    Notifier(manager.getsockname()).status("a\nREADY=1")
    assert _told(manager) == ["STATUS=a READY=1"]


def test_an_abstract_address_is_understood() -> None:
    """``@`` stands for the NUL that it begins with (unix(7))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"penstock-notify-{os.getpid()}"
        sock.bind("\0" + name)
        Notifier("@" + name).alive()
        assert sock.recv(100) == b"WATCHDOG=1"


def test_nobody_is_told_when_nobody_is_there(tmp_path: Path, manager: socket.socket) -> None:
    """No variable, a wrong one, a manager that went away or does not read: the server goes on."""
    for notifier in (Notifier(), Notifier("relative"), Notifier(str(tmp_path / "none")), Notifier("/" + "x" * 200)):
        notifier.ready("x")
    full = Notifier(manager.getsockname())
    for _ in range(2000):
        full.alive()
    gone = Notifier(manager.getsockname())
    manager.close()
    gone.ready("x")


def test_the_environment_says_who_is_told_and_how_often(manager: socket.socket) -> None:
    """The watchdog is fed twice as often as asked, only where it means this process; no child hears of it."""
    path = manager.getsockname()
    environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid()), "PATH": "/bin"}
    assert Notifier.of(environment).watchdog == 1.5
    assert environment == {"PATH": "/bin"}
    assert Notifier.of({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}).watchdog == 0
    assert Notifier.of({"WATCHDOG_USEC": "soon"}).watchdog == 0
