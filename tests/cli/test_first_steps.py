"""The walk of a new user, as README and guide tell it: start the example, send, look, edit the sink, start again."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.processes import end, spawn
from support.waiting import wait_until

from .command import penstock

ROOT = Path(__file__).resolve().parents[2]
DATA = "../penstock-data"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The example beside a folder for its data, as in a checkout; only the port is another one, since 2525 may be taken."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    config = tmp_path / "examples" / "penstock.toml"
    text = config.read_text()
    assert text.count(DATA) == 4, "everything that the example keeps is below one folder"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert '"127.0.0.1:2525"' in text
    config.write_text(text.replace('"127.0.0.1:2525"', f'"127.0.0.1:{port}"'))
    return tmp_path


def _address(checkout: Path) -> str:
    text = (checkout / "examples" / "penstock.toml").read_text()
    return text.partition('address = "')[2].partition('"')[0]


@contextmanager
def _served(checkout: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``penstock serve`` with the words that the Makefile has, but for the interpreter."""
    assert "penstock serve --config $(CONFIG)" in (ROOT / "Makefile").read_text()
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "penstock", "serve", "--config", "examples/penstock.toml", "--ready-fd", str(writer)]
    with (checkout / "log").open("ab") as log:
        process = spawn(command, stdout=log, stderr=log, pass_fds=[writer], cwd=checkout)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as ready:
            assert json.loads(ready.readline() or b"{}"), (checkout / "log").read_text()
        yield process
        process.terminate()
        assert process.wait(30) == 0
    finally:
        end(process)


def _send(checkout: Path, subject: str) -> str:
    done = penstock("send", "--to", "alice@example.com", "--subject", subject, "--server", _address(checkout), "--json")
    assert done.returncode == 0, done.stderr
    queue_id: str = json.loads(done.stdout)["queue_id"]
    return queue_id


def _mailbox(checkout: Path, subject: str) -> str:
    """The message in alice's mailbox."""

    def arrived() -> str:
        texts = [path.read_text() for path in (checkout / "penstock-data" / "mail" / "example.com" / "alice").glob("new/*")]
        return next((text for text in texts if f"Subject: {subject}\n" in text), "")

    return wait_until(arrived, f"{subject!r} is in the mailbox")


def test_a_new_user_sees_mail_arrive_and_a_changed_sink_take_effect(checkout: Path) -> None:
    """Nothing but the commands of the first page, and an editor."""
    with _served(checkout):
        queue_id = _send(checkout, "First try")
        assert "X-Hello: Hello from Penstock, alice\n" in _mailbox(checkout, "First try")
        copy = (checkout / "penstock-data" / "archive" / f"{queue_id}.eml").read_text()
        assert "Subject: First try\n" in copy
        assert "X-Hello" not in copy
        refused = penstock("send", "--to", "alice@example.com", "--subject", "refuse me", "--server", _address(checkout))
        assert (refused.returncode, "As you wish" in refused.stderr) == (69, True)
    sink = checkout / "examples" / "hello.py"
    sink.write_text(sink.read_text().replace('"X-Hello"', '"X-Changed"'))
    assert penstock("check", "--config", str(checkout / "examples" / "penstock.toml")).stdout == "ok: 7 bindings, 1 listener, 1 domain\n"
    with _served(checkout):
        _send(checkout, "Second try")
        text = _mailbox(checkout, "Second try")
    assert "X-Changed: Hello from Penstock, alice\n" in text
    assert "X-Hello" not in text
    assert sorted(path.name for path in checkout.iterdir()) == ["examples", "log", "penstock-data"], "nothing is kept elsewhere"
