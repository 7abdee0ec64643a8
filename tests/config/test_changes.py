"""Live changes: checked as a whole, kept whole or not at all, the same twice is once, and no file of them can stop the mail."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from penstock.config import kept as kept_file
from penstock.config import load, plugs, starting
from penstock.config.changes import Change, Result, apply
from penstock.config.kept import Kept, read
from penstock.config.sources import changes_path
from penstock.errors import ConfigError
from penstock.events.plug import Plug
from penstock.observe.log import get_log

HEAD = '[server]\nhostname = "mx.example.com"\nworkers = 1\n[[listener]]\nname = "mx"\naddress = "127.0.0.1:0"\n'
_numbers = itertools.count()
ALICE, NOW = "alice", 1_800_000_000.0


class Place:
    """A configuration with one binding ``mine``, and its live changes."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.module = f"sinks_of_changes_test_{next(_numbers)}"
        (folder / f"{self.module}.py").write_text(
            "from dataclasses import dataclass, field\nfrom pathlib import Path\nfrom penstock import Secret, Sink, on\n"
            "from penstock.events import *\n"
            "@dataclass(frozen=True)\nclass Inner:\n    token: Secret = Secret('')\n    depth: int = 1\n"
            "@dataclass(frozen=True)\nclass S:\n    folder: Path = Path('x')\n    key: Secret = Secret('')\n"
            "    inner: Inner = Inner()\n    many: list[Inner] = field(default_factory=list)\n"
            "class Mine(Sink[S]):\n    @on(Submission)\n    async def h(self, event): ...\n"
            "class Plain(Sink):\n    @on(RcptTo)\n    async def h(self, event): ...\n"
        )
        self.path = folder / "penstock.toml"
        self.path.write_text(f'{HEAD}[[binding]]\nname = "mine"\nsink = "{self.module}:Mine"\npriority = 100\n{more}')
        self.file = changes_path(load(self.path))

    def make(self, op: Any, name: str = "mine", *keys: str, replace: bool = False, **values: Any) -> Result:
        dotted = {key.replace("__", "."): value for key, value in values.items()}
        return apply(self.path, Change(op, name, dotted, keys, replace), ALICE, NOW)

    def plugs(self) -> dict[str, Plug]:
        return {plug.name: plug for plug in plugs(load(self.path))}

    @property
    def mine(self) -> Plug:
        return self.plugs()["mine"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_is_set_is_in_force_with_who_and_when_and_the_file_stays_as_it_is(place: Place) -> None:
    before = place.path.read_text()
    result = place.make("set", priority=7, match__sender="*@a.example", settings__folder="/srv", settings__inner__depth=3, timeout="2m")
    assert result == Result(True, "binding 'mine' is changed")
    mine = place.mine
    assert (mine.priority, mine.match.sender, mine.timeout) == (7, "*@a.example", 120)  # type: ignore[union-attr]
    assert (mine.sink.settings.folder, mine.sink.settings.inner.depth) == (Path("/srv"), 3)
    assert (mine.provenance.by, mine.provenance.at) == (ALICE, NOW)
    assert mine.provenance.source == f"{place.path}: binding.mine"
    assert place.path.read_text() == before


def test_the_same_twice_is_once(place: Place) -> None:
    sink = f"{place.module}:Plain"
    for op, name, values in (
        ("add", "new", {"sink": sink, "priority": 5}), ("set", "mine", {"priority": 9}), ("disable", "mine", {}), ("enable", "mine", {}),
        ("remove", "new", {}), ("remove", "mine", {}), ("reset", "mine", {}), ("reset", "", {}),
    ):  # fmt: skip
        first = place.make(op, name, **values)
        there = place.file.read_bytes()
        again = place.make(op, name, **values)
        assert (first.changed, again.changed) == (op != "reset" or bool(name), False), (op, first, again)
        assert place.file.read_bytes() == there
    assert [deed.op for deed in read(place.file).history] == ["add", "set", "disable", "enable", "remove", "remove", "reset"]


def test_a_name_that_says_something_else_is_an_error_unless_it_is_to_be_replaced(place: Place) -> None:
    sink = f"{place.module}:Plain"
    place.make("add", "new", sink=sink)
    with pytest.raises(ConfigError, match="there is a binding 'new' already, which says something else"):
        place.make("add", "new", sink=sink, priority=5)
    assert place.make("add", "new", replace=True, sink=sink, priority=5).changed
    with pytest.raises(ConfigError, match="there is a binding 'mine' already"):
        place.make("add", sink=sink)
    place.make("add", replace=True, sink=sink)
    assert (place.mine.import_path, place.mine.priority, place.plugs()["new"].priority) == (sink, 24575, 5)
    place.make("reset")
    assert place.mine.import_path.endswith(":Mine")


def test_what_the_files_say_already_needs_no_live_change(place: Place) -> None:
    assert not place.make("set", priority=100).changed
    assert not place.make("enable").changed
    assert not place.make("add", sink=f"{place.module}:Mine", priority=100).changed
    place.make("set", priority=5, timeout="1m")
    place.make("set", priority=100)
    assert read(place.file).bindings["mine"].values == {"timeout": "1m"}


def test_keys_go_back_one_by_one_and_are_taken_out_one_by_one(place: Place) -> None:
    place.make("set", match={"sender": "a@b.example", "size": ">1KiB"}, priority=5)
    place.make("set", match__sender=None)
    assert (place.mine.match.sender, place.mine.match.size) == (None, ">1KiB")  # type: ignore[union-attr]
    place.make("reset", "mine", "match")
    assert (place.mine.match, place.mine.priority) == (None, 5)
    place.make("set", priority=None)
    assert place.mine.priority == 24575  # of the file's 100 nothing is left: the default holds
    place.make("reset", "mine", "priority")
    assert place.mine.priority == 100
    assert not read(place.file).bindings


def test_what_is_removed_stays_out_until_it_is_reset(place: Place) -> None:
    place.make("remove")
    assert "mine" not in place.plugs()
    with pytest.raises(ConfigError, match="is taken out"):
        place.make("set", priority=3)
    place.make("add", sink=f"{place.module}:Plain")
    assert place.mine.import_path.endswith(":Plain")
    place.make("remove")
    place.make("reset")
    assert place.mine.import_path.endswith(":Mine")


def test_a_disabled_binding_is_listed_and_never_made(place: Place, tmp_path: Path) -> None:
    place.make("disable")
    assert place.mine.enabled is False
    (tmp_path / "broken_of_changes_test.py").write_text("raise RuntimeError('no')\n")
    with pytest.raises(ConfigError, match="RuntimeError"):
        place.make("add", "bad", sink="broken_of_changes_test:X")
    place.make("add", "bad", sink="broken_of_changes_test:X", enabled=False)
    assert "bad" not in place.plugs()


@pytest.mark.parametrize(
    ("op", "values", "where", "what"),
    [
        ("set", {"priorty": 5}, "binding.mine", "unknown key 'priorty'"),
        ("set", {"priority": "high"}, "binding.mine.priority", "expected 'int'"),
        ("set", {"priority": 99999}, "binding.mine.priority", "is not between"),
        ("set", {"settings.inner.depth": "deep"}, "binding.mine.settings.inner.depth", "expected 'int'"),
        ("set", {"settings.many": [{"depth": 1}, {"depth": "deep"}]}, "binding.mine.settings.many[1].depth", "expected 'int'"),
        ("set", {"settings.inner.dept": 1}, "binding.mine.settings.inner", "unknown key 'dept'"),
        ("set", {"settings.key": "${env:NOT_SET_ANYWHERE}"}, "binding.mine.settings.key", "no environment variable NOT_SET_ANYWHERE"),
        ("set", {"match.sender": "a", "match.rule": "mail from=*"}, "binding.mine.match", "both ask about the sender"),
        ("set", {"match.header.Subject": "x", "match.helo": ""}, "binding.mine.match", "'helo' is not understood"),
        ("set", {"match.direction": "up"}, "binding.mine.match", "'up' is none of"),
        ("set", {"priority.x": 5}, "binding.mine.priority", "no table"),
        ("set", {"listeners": ["nowhere"]}, "binding.mine.listeners", "there is no listener 'nowhere'"),
        ("set", {"name": "other"}, "binding.mine.name", "a binding keeps its name"),
        ("set", {"a b": 1}, "binding.mine", "is no key"),
        ("set", {"sample": "0%"}, "binding.mine.sample", "never asked"),
        ("set", {"sink": "nowhere:X"}, "binding.mine.sink", "cannot be imported"),
        ("add", {}, "binding.new", "missing required field 'sink'"),
    ],
)
def test_what_would_not_work_is_refused_with_its_key_and_nothing_is_kept(
    place: Place, op: Any, values: dict[str, Any], where: str, what: str
) -> None:
    name = "new" if op == "add" else "mine"
    with pytest.raises(ConfigError) as failure:
        apply(place.path, Change(op, name, values), ALICE, NOW)
    assert failure.value.where.endswith(where)
    assert what in failure.value.what
    assert not place.file.exists()


def test_the_bindings_of_the_server_itself_can_be_switched_and_timed_but_not_made_others(place: Place) -> None:
    place.make("disable", "relay")
    place.make("set", "recipients", timeout="9s")
    found = place.plugs()
    assert (found["relay"].enabled, found["recipients"].timeout) == (False, 9)
    assert found["relay"].provenance.by == ALICE
    for op, values in (("remove", {}), ("set", {"settings": {}}), ("set", {"sink": "x:Y"}), ("add", {"sink": "x:Y"})):
        with pytest.raises(ConfigError, match="server's own"):
            apply(place.path, Change(op, "relay", values), ALICE, NOW)  # type: ignore[arg-type]
    assert place.make("enable", "relay").changed
    assert "relay" not in read(place.file).bindings


def test_an_unknown_name_is_told_with_the_nearest_one(place: Place) -> None:
    for op in ("remove", "enable", "disable", "set", "reset"):
        with pytest.raises(ConfigError, match="there is no binding 'mime'") as failure:
            place.make(op, "mime", **({"priority": 1} if op == "set" else {}))
        assert failure.value.hint == "did you mean 'mine'?"


def test_a_secret_is_kept_by_where_it_is_never_by_what_it_is(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KEY_OF_CHANGES_TEST", "opensesame")
    (tmp_path / "token").write_text("hush\n")
    place.make("set", settings__key="${env:KEY_OF_CHANGES_TEST}", settings__inner={"token": {"file": "token"}})
    settings = place.mine.sink.settings
    assert (settings.key, settings.inner.token) == ("opensesame", "hush")
    assert "***" in repr(settings)
    assert not {"opensesame", "hush"} & set(json.dumps(json.loads(place.file.read_text())).split('"'))
    assert place.file.stat().st_mode & 0o777 == 0o600


# --- two at once, and the end of a process ---

ADD = (
    "import sys, time, pathlib\nfrom penstock.config.changes import Change, apply\n"
    "path, sink, first, count = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])\n"
    "for number in range(first, first + count):\n"
    "    apply(path, Change('add', f'b{number}', {'sink': sink}), 'bob', time.time())\n"
    "    print(number, flush=True)\n"
)


def _adder(place: Place, first: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ADD, str(place.path), f"{place.module}:Plain", str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_commands_at_the_same_time_lose_nothing_of_each_other(place: Place) -> None:
    """Each of four processes adds bindings of its own; all are there in the end."""
    running = [_adder(place, first * 100, 6) for first in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert set(read(place.file).bindings) == {f"b{first * 100 + number}" for first in range(4) for number in range(6)}
    for process in running:
        process.stdout.close()  # type: ignore[union-attr]


def test_a_command_that_is_killed_leaves_the_old_changes_or_the_new_ones(place: Place) -> None:
    """Killed at moments that differ: what was told to be added is there, the file is whole, and the next command works."""
    for round_ in range(6):
        with _adder(place, round_ * 1000, 500) as process:
            assert process.stdout is not None
            told = [int(process.stdout.readline()) for _ in range(1 + round_)]
            process.send_signal(signal.SIGKILL)
            told += [int(line) for line in process.stdout if line.endswith("\n")]
        assert {f"b{number}" for number in told} <= set(read(place.file).bindings)
    place.make("set", priority=3)
    assert place.mine.priority == 3


def test_whoever_reads_meanwhile_sees_the_old_changes_or_the_new_ones(place: Place) -> None:
    """Never a part; and what was seen once does not go away."""
    sizes = [0]
    with _adder(place, 0, 25) as process:
        while process.poll() is None:
            sizes.append(len(read(place.file).bindings))
    assert sizes == sorted(sizes)
    assert (process.returncode, len(set(sizes)) > 5) == (0, True)


def test_a_crash_within_the_write_leaves_the_old_file(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was half written is of no consequence, not even to the next command."""
    place.make("set", priority=3)
    with monkeypatch.context() as patch:

        def killed(fd: int) -> None:
            raise KeyboardInterrupt

        patch.setattr(kept_file.os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            place.make("set", priority=4)
    assert place.mine.priority == 3
    place.make("set", priority=5)
    assert place.mine.priority == 5


def test_a_disk_that_takes_nothing_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_file.os, "fsync", full)
    with pytest.raises(ConfigError, match="cannot be written: No space left"):
        place.make("set", priority=4)
    assert place.mine.priority == 100


def test_who_waits_too_long_for_another_command_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_file, "LOCK_WAIT", 0.1)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with kept_file.locked(place.file):
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    try:
        with pytest.raises(ConfigError, match="another command is changing the bindings"):
            place.make("set", priority=4)
    finally:
        done.set()
        holder.join()
    assert place.make("set", priority=4).changed


# --- files that cannot be used ---

HOSTILE = [
    b"", b"{", b"\x00" * 100, b"\xff\xfe", b"[]", b'{"version": 2}', b'{"bindings": {"mine": 3}}', b'{"bindings": {"mine": {"by": "a"}}}',
    b'{"unknown": 1}', b"[" * 100_000, b'{"bindings": {"mine": {"by": "a", "at": 1, "values": {"x": ' + b"[" * 5000 + b"}}}",
    b'{"bindings": {"mine": {"by": "a", "at": "now"}}}',
]  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE)
def test_a_file_that_cannot_be_read_is_set_aside_and_the_server_starts_from_the_files(place: Place, content: bytes) -> None:
    place.file.parent.mkdir(parents=True)
    place.file.write_bytes(content)
    with pytest.raises(ConfigError) as failure:
        place.plugs()
    assert failure.value.where == str(place.file)
    assert "reset --all" in failure.value.hint
    with capture_logs() as lines:
        bound = starting(load(place.path), get_log())
    assert [plug.name for plug in bound][-1] == "mine"
    assert [(line["log_level"], line["event"]) for line in lines] == [("error", "live changes are set aside")]
    assert Path(lines[0]["kept_as"]).read_bytes() == content
    assert place.plugs()


@pytest.mark.parametrize("how", ["link", "folder", "writable", "huge", "pipe"])
def test_a_file_that_a_stranger_could_have_put_there_is_not_believed(place: Place, tmp_path: Path, how: str) -> None:
    """It may name any class, whose code would run as the server."""
    place.file.parent.mkdir(parents=True)
    text = b'{"version": 1, "bindings": {}, "history": []}'
    if how == "link":
        (tmp_path / "elsewhere").write_bytes(text)
        place.file.symlink_to(tmp_path / "elsewhere")
    elif how == "folder":
        place.file.mkdir()
    elif how == "pipe":
        os.mkfifo(place.file)
    else:
        place.file.write_bytes(text)
        place.file.chmod(0o602 if how == "writable" else 0o600)
    if how == "huge":
        os.truncate(place.file, kept_file.MAX_OCTETS + 1)
    with capture_logs() as lines:
        assert starting(load(place.path), get_log())[-1].name == "mine"
    assert lines[0]["event"] == "live changes are set aside"
    assert not place.file.exists(follow_symlinks=False) if sys.version_info >= (3, 12) else not os.path.lexists(place.file)


def test_one_that_cannot_be_read_is_put_right_by_a_reset_of_all(place: Place) -> None:
    place.file.parent.mkdir(parents=True)
    place.file.write_bytes(b"{")
    with pytest.raises(ConfigError, match="cannot be read"):
        place.make("set", priority=3)
    result = place.make("reset", "")
    assert result.changed
    assert "set aside" in result.notes[0]
    assert place.make("set", priority=3).changed


def _keep(place: Place, **bindings: dict[str, Any]) -> None:
    place.file.parent.mkdir(parents=True, exist_ok=True)
    full = {name: {"by": "eve", "at": NOW, **override} for name, override in bindings.items()}
    place.file.write_text(json.dumps({"version": 1, "bindings": full, "history": []}))


def test_at_the_start_only_the_changes_that_cannot_be_used_are_left_out(place: Place) -> None:
    """The files may have become others meanwhile. Each is told, and the rest holds."""
    _keep(
        place,
        mine={"values": {"priority": 3}},
        gone={"table": {"sink": "nowhere:X"}},
        wrong={"table": {"sink": f"{place.module}:Plain", "match": {"header": {"Subject": "x"}}}},
        fine={"table": {"sink": f"{place.module}:Plain"}},
        relay={"values": {"settings": {}}},
        orphan={"values": {"priority": 5}},
    )
    with pytest.raises(ConfigError):
        place.plugs()
    with capture_logs() as lines:
        bound = {plug.name: plug for plug in starting(load(place.path), get_log())}
    assert {line["binding"] for line in lines} == {"gone", "wrong", "relay"}
    assert {line["event"] for line in lines} == {"a live change is left out"}
    assert set(bound) >= {"mine", "fine", "relay"}
    assert (bound["mine"].priority, "gone" in bound, "wrong" in bound) == (3, False, False)


def test_an_error_of_the_files_is_not_laid_at_the_door_of_a_live_change(place: Place) -> None:
    _keep(place, mine={"values": {"priority": 3}})
    place.path.write_text(place.path.read_text() + '[[binding]]\nname = "bad"\nsink = "nowhere:X"\n')
    with pytest.raises(ConfigError, match="nowhere"):
        starting(load(place.path), get_log())


def test_a_name_that_is_in_the_files_by_now_is_told_with_both_places(place: Place) -> None:
    place.make("add", "new", sink=f"{place.module}:Plain")
    place.path.write_text(place.path.read_text() + f'[[binding]]\nname = "new"\nsink = "{place.module}:Mine"\n')
    with pytest.raises(ConfigError, match="two bindings with the name 'new'") as failure:
        place.plugs()
    assert failure.value.where == f"{place.file}: binding.new"
    assert f"{place.path}: binding.new" in failure.value.hint
    with capture_logs() as lines:
        bound = {plug.name: plug for plug in starting(load(place.path), get_log())}
    assert [line["binding"] for line in lines] == ["new"]
    assert bound["new"].import_path.endswith(":Mine")


def test_a_reset_is_possible_while_another_change_is_wrong(place: Place) -> None:
    """Else two wrong ones would hold each other."""
    _keep(place, one={"table": {"sink": "nowhere:X"}}, two={"table": {"sink": "nowhere:Y"}})
    result = place.make("reset", "one")
    assert result.changed
    assert "still cannot be used" in result.notes[0]
    assert not place.make("reset", "two").notes
    assert place.plugs()


def test_the_history_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.config.changes.MAX_HISTORY", 3)
    for priority in range(1, 6):
        place.make("set", priority=priority)
    assert len(read(place.file).history) == 3
    place.make("reset", "")
    assert [deed.op for deed in read(place.file).history] == ["set", "set", "reset"]


def test_a_process_of_another_time_zone_reads_the_same(place: Place) -> None:
    place.make("set", expires="2027-01-31T18:00:00Z")
    assert place.mine.expires == 1801418400
    assert time.time() > 0
    assert read(place.file).bindings["mine"].values == {"expires": "2027-01-31T18:00:00Z"}
    assert isinstance(read(place.file), Kept)
