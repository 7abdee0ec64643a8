"""``penstock sink new`` writes a sink that passes its test and runs in the server: three commands from nothing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.command import penstock
from penstock.cli import run
from penstock.events.catalog import CATALOG
from support.processes import end, spawn
from support.waiting import wait_until

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


def test_a_first_sink_runs_in_the_server_after_three_commands(tmp_path: Path) -> None:
    done = penstock("sink", "new", "greeter", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tested = run_tests(tmp_path)
    assert "1 passed" in tested, tested
    # The one thing that differs from what a stranger does: 2525 may be taken on this machine.
    address = f"127.0.0.1:{free_port()}"
    config = tmp_path / "penstock.toml"
    config.write_text(config.read_text().replace("127.0.0.1:2525", address))
    with (tmp_path / "log").open("ab") as log:
        server = spawn([sys.executable, "-m", "penstock", "serve"], stdout=log, stderr=log, cwd=tmp_path)
    try:
        wait_until(lambda: listens(address), "the server listens", 20)
        sent = penstock("send", "--to", "alice@example.com", "--subject", "hi", "--server", address)
        assert sent.returncode == 0, sent.stderr
        box = tmp_path / "penstock-data" / "mail" / "example.com" / "alice" / "new"
        wait_until(lambda: list(box.glob("*")), "the message is in the mailbox", 20)
        assert "X-Greeter: hello\n" in next(box.glob("*")).read_text()
        server.terminate()
        assert server.wait(30) == 0
    finally:
        end(server)


def test_the_sink_for_each_event_passes_its_test_and_the_check(tmp_path: Path) -> None:
    for event in CATALOG:
        # In this process: a command for each takes half a minute.
        assert run(["sink", "new", f"at_{event.lower()}", "--event", event, "--folder", str(tmp_path)]) == 0
    tested = run_tests(tmp_path)
    assert f"{len(CATALOG)} passed" in tested, tested
    checked = penstock("check", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr


def test_what_is_written_satisfies_mypy_and_ruff(tmp_path: Path) -> None:
    for event in ("Submission", "RcptTo", "Verb", "Auth", "Resolve", "Accepted"):
        assert penstock("sink", "new", f"at_{event.lower()}", "--event", event, cwd=tmp_path).returncode == 0
    for tool in (["mypy", "--strict", "--no-error-summary", "sinks", "tests"], ["ruff", "check", "--isolated", "sinks", "tests"]):
        if shutil.which(tool[0], path=str(Path(sys.executable).parent)) is None:
            pytest.skip(f"{tool[0]} is not installed")
        done = subprocess.run(
            [sys.executable, "-m", *tool],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "MYPYPATH": "sinks", "MYPY_CACHE_DIR": str(tmp_path / "cache")},
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Greeter", "no name for a sink"),
        ("2nd", "no name for a sink"),
        ("a/b", "no name for a sink"),
        ("../up", "no name for a sink"),
        ("class", "no name for a sink"),
        ("a" * 41, "no name for a sink"),
        ("email", "the name of a Python module"),
        ("penstock", "the name of a Python module"),
        ("pytest", "the name of a Python module"),
    ],
)
def test_a_name_that_could_do_harm_is_refused(tmp_path: Path, name: str, why: str) -> None:
    done = penstock("sink", "new", name, cwd=tmp_path)
    assert done.returncode == 64
    assert why in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_event_names_the_nearest_one(tmp_path: Path) -> None:
    done = penstock("sink", "new", "greeter", "--event", "Submision", cwd=tmp_path)
    assert done.returncode == 64
    assert "did you mean 'Submission'?" in done.stderr


@pytest.mark.parametrize("there", ["sinks/greeter.py", "tests/test_greeter.py", "bindings.d/greeter.toml"])
def test_nothing_that_is_there_is_replaced(tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir()
    (tmp_path / there).write_text("# mine\n")
    done = penstock("sink", "new", "greeter", cwd=tmp_path)
    assert done.returncode == 73
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == [there]
    assert (tmp_path / there).read_text() == "# mine\n"


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "sinks").mkdir()
    (tmp_path / "sinks" / "greeter.py").symlink_to(tmp_path / "elsewhere")
    assert penstock("sink", "new", "greeter", cwd=tmp_path).returncode == 73
    assert not (tmp_path / "elsewhere").exists()


def test_a_second_sink_leaves_the_configuration_alone(tmp_path: Path) -> None:
    assert penstock("sink", "new", "greeter", cwd=tmp_path).returncode == 0
    before = (tmp_path / "penstock.toml").read_text()
    assert penstock("sink", "new", "refuser", "--event", "RcptTo", cwd=tmp_path).returncode == 0
    assert (tmp_path / "penstock.toml").read_text() == before
    again = penstock("sink", "new", "greeter", cwd=tmp_path)
    assert again.returncode == 73
    assert "greeter" in again.stderr


def test_another_folder_and_another_folder_of_bindings_are_used(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "own.d").mkdir(parents=True)
    (home / "penstock.toml").write_text(
        '[server]\nhostname = "mx.example.com"\nbindings = "own.d"\n\n[[listener]]\nname = "mx"\naddress = "127.0.0.1:2525"\n'
    )
    done = penstock("sink", "new", "greeter", "--folder", "home", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (home / "own.d" / "greeter.toml").is_file()
    assert "1 passed" in run_tests(home)


def run_tests(folder: Path) -> str:
    """What pytest says in a folder, as for somebody who has nothing but pytest and penstock."""
    done = subprocess.run(
        [*PYTEST, "-p", "no:asyncio"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True
