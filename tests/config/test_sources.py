"""Bindings written in several places: the file, the folder of further files, installed packages; each name once, each with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config import load, plugs
from penstock.errors import ConfigError
from penstock.events.plug import BreakerSettings, CanarySettings, Plug, ProcessSettings

HEAD = '[server]\nhostname = "mx.example.com"\nMORE\n[[listener]]\nname = "mx"\naddress = "127.0.0.1:0"\n'
SHIELDS = '[[binding]]\nname = "NAME"\nsink = "penstock.sinks:ShieldsUp"\n'


def _own(folder: Path, more: str = "", bindings: str = "") -> list[Plug]:
    """The user's plugs of a file with these keys in [server], and these bindings."""
    (folder / "penstock.toml").write_text(HEAD.replace("MORE", more) + bindings)
    return [plug for plug in plugs(load(folder / "penstock.toml")) if plug.provenance.source != "built-in"]


def _drop_in(folder: Path, name: str, text: str) -> Path:
    (folder / "bindings.d").mkdir(exist_ok=True)
    path = folder / "bindings.d" / name
    path.write_text(text)
    return path


def _fails(folder: Path, more: str = "", bindings: str = "") -> ConfigError:
    with pytest.raises(ConfigError) as failure:
        _own(folder, more, bindings)
    return failure.value


def test_files_of_the_folder_come_after_the_file_in_order_of_their_names(tmp_path: Path) -> None:
    _drop_in(tmp_path, "20-b.toml", SHIELDS.replace("NAME", "b"))
    first = _drop_in(tmp_path, "10-a.toml", SHIELDS.replace("NAME", "a") + SHIELDS.replace("NAME", "a2"))
    for ignored in (".hidden.toml", "c.toml~", "c.toml.bak", "README"):
        _drop_in(tmp_path, ignored, "this is not TOML")
    found = _own(tmp_path, bindings=SHIELDS.replace("NAME", "own"))
    assert [plug.name for plug in found] == ["own", "a", "a2", "b"]
    assert found[1].provenance.source == f"{first}: binding.a"
    assert found[1].where == f"{first}: binding.a"


def test_the_folder_need_not_be_there_unless_it_is_named(tmp_path: Path) -> None:
    assert _own(tmp_path) == []
    error = _fails(tmp_path, 'bindings = "more"')
    assert error.where.endswith("penstock.toml: server.bindings")
    assert str(tmp_path / "more") in error.what
    (tmp_path / "more").write_text("a file")
    assert "cannot be read" in _fails(tmp_path, 'bindings = "more"').what


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("x", "", "this is not TOML"),
        ('[server]\nhostname = "x"\n', "", "unknown key 'server'"),
        ("binding = 3\n", ": binding", "a list of tables is expected"),
        ('[[binding]]\nname = "a"\n', ": binding.a", "missing required field 'sink'"),
        ("binding = [3]\n", ": binding.1", "expected"),
        (SHIELDS.replace("NAME", "a") + "priorty = 5\n", ": binding.a", "unknown key 'priorty'"),
        (SHIELDS.replace("NAME", "a") + 'listeners = ["x"]\n', ": binding.a.listeners", "no listener 'x'"),
        (SHIELDS.replace("NAME", "a") + 'match = { rcpt = "x" }\n', ": binding.a.match", "unknown key 'rcpt'"),
    ],
)
def test_what_is_wrong_in_a_file_of_the_folder_is_told_with_that_file(tmp_path: Path, text: str, where: str, what: str) -> None:
    path = _drop_in(tmp_path, "a.toml", text)
    error = _fails(tmp_path)
    assert (error.where, what in error.what) == (f"{path}{where}", True)


def test_octets_that_are_no_text_are_told_with_their_file(tmp_path: Path) -> None:
    _drop_in(tmp_path, "a.toml", "").write_bytes(b"\xff\xfe")
    assert "cannot be read" in _fails(tmp_path).what


def test_a_name_that_occurs_twice_is_told_with_both_places(tmp_path: Path) -> None:
    one, other = _drop_in(tmp_path, "1.toml", SHIELDS.replace("NAME", "a")), _drop_in(tmp_path, "2.toml", SHIELDS.replace("NAME", "a"))
    error = _fails(tmp_path)
    assert error.where == f"{other}: binding.a"
    assert f"the other one is {one}: binding.a" in error.what
    error = _fails(tmp_path, bindings=SHIELDS.replace("NAME", "a"))
    assert f"the other one is {tmp_path / 'penstock.toml'}: binding.a" in error.what


def test_paths_in_settings_start_at_the_main_file_wherever_they_are_written(tmp_path: Path) -> None:
    _drop_in(tmp_path, "a.toml", '[[binding]]\nname = "a"\nsink = "penstock.sinks:Archive"\nsettings = { directory = "kept" }\n')
    assert _own(tmp_path)[0].sink.settings.directory == tmp_path.resolve() / "kept"


# --- packages ---


def _package(folder: Path, name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package ``name`` that offers bindings under the name ``offered``."""
    module = f"bindings_of_{name}"
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[penstock.bindings]\noffered = {module}:tables\n")
    monkeypatch.syspath_prepend(folder)


TABLES = "def tables():\n    return [{'name': 'a', 'sink': 'penstock.sinks:ShieldsUp', 'priority': 5}]\n"


def test_bindings_of_a_package_are_taken_only_when_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(tmp_path, "sources_first", TABLES, monkeypatch)
    assert _own(tmp_path) == []
    (found,) = _own(tmp_path, 'packages = ["offered"]')
    assert (found.name, found.priority, found.provenance.source) == ("a", 5, "package sources_first 1.2")
    assert found.where == "package offered: binding.a"
    error = _fails(tmp_path, 'packages = ["offered"]', SHIELDS.replace("NAME", "a"))
    assert (error.where, "penstock.toml: binding.a" in error.what) == ("package offered: binding.a", True)


@pytest.mark.parametrize(
    ("source", "where", "what"),
    [
        ("raise ImportError('no')\n", "server.packages", "cannot be had: ImportError: no"),
        ("def tables():\n    return 1 / 0\n", "server.packages", "cannot be had: ZeroDivisionError"),
        ("def tables():\n    raise SystemExit(0)\n", "server.packages", "it calls sys.exit(0)"),
        ("def tables():\n    return 3\n", "server.packages", "cannot be had: TypeError"),
        ("tables = 3\n", "server.packages", "cannot be had: TypeError"),
        ("def tables():\n    return [3]\n", "package offered: binding.1", "expected"),
        ("def tables():\n    return [{'name': 'a', 'snk': 'x:Y'}]\n", "package offered: binding.a", "unknown key 'snk'"),
    ],
)
def test_whatever_a_package_does_wrong_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, where: str, what: str, request: pytest.FixtureRequest
) -> None:
    _package(tmp_path, f"sources_{abs(hash(request.node.name))}", source, monkeypatch)
    error = _fails(tmp_path, 'packages = ["offered"]')
    assert error.where.endswith(where)
    assert what in error.what


def test_a_package_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(tmp_path, "sources_second", TABLES, monkeypatch)
    error = _fails(tmp_path, 'packages = ["offred"]')
    assert "no installed package offers bindings as 'offred'" in error.what
    assert "offered" in error.hint


# --- the keys that keep a binding under control ---


def test_every_control_reaches_the_plug(tmp_path: Path) -> None:
    (plug,) = _own(
        tmp_path,
        bindings=SHIELDS.replace("NAME", "a")
        + 'concurrency = 3\nsample = "12.5%"\nexpires = 2027-01-31T18:00:00Z\nmax_firings = 9\nrun_in = "process"\n'
        'breaker = { failures = 4, rest = "1m", longest = "1h" }\nprocess = { processes = 2, memory = "1 GiB", cpu = "2s" }\n'
        'canary = { percent = "5%", sticky = "session", most_errors = "1%", slowest = "250ms", most_rejects = "2%", after = 7 }\n',
    )
    assert (plug.concurrency, plug.sample, plug.expires, plug.max_firings, plug.run_in) == (3, 12.5, 1801418400, 9, "process")
    assert plug.breaker == BreakerSettings(4, 60, 3600)
    assert plug.process == ProcessSettings(2, 2**30, 2)
    assert plug.canary == CanarySettings(5, "", "session", 1, 0.25, 2, 7)
    assert (plug.import_path, bool(plug.version)) == ("penstock.sinks:ShieldsUp", True)
    (short,) = _own(tmp_path, bindings=SHIELDS.replace("NAME", "a") + 'canary = "5%"\nmode = "active"\n')
    assert short.canary == CanarySettings(5)


@pytest.mark.parametrize(
    ("key", "where", "what"),
    [
        ('sample = "110%"', "sample", "is not a percentage"),
        ('sample = "some"', "sample", "is not a percentage"),
        ("sample = true", "sample", "is not a percentage"),
        ("sample = nan", "sample", "is not a percentage"),
        ('expires = "tomorrow"', "expires", "is not a date"),
        ("expires = 12", "expires", "is not a date"),
        ("expires = 12:00:00", "expires", "is not a date"),
        ('mode = "shade"', "mode", "invalid enum value"),
        ("breaker = { fails = 3 }", "breaker", "unknown key 'fails'"),
        ('breaker = { rest = "soon" }', "breaker.rest", "is not a duration"),
        ('process = { memory = "much" }', "process.memory", "is not a size"),
        ('canary = { percent = "x" }', "canary.percent", "is not a percentage"),
        ('canary = { percent = "5%", replace = "x" }', "canary", "unknown key 'replace'"),
        ("canary = 3", "canary", "expected"),
    ],
)
def test_a_control_that_is_not_understood_is_told_with_its_key(tmp_path: Path, key: str, where: str, what: str) -> None:
    error = _fails(tmp_path, bindings=SHIELDS.replace("NAME", "a") + key + "\n")
    assert error.where == f"{tmp_path / 'penstock.toml'}: binding.a.{where}"
    assert what in error.what


def test_a_sink_of_a_process_is_not_made_here(tmp_path: Path) -> None:
    """Its settings are checked, but no line of its ``__init__`` runs: whatever that does belongs into the process."""
    (tmp_path / "sink_of_sources_test.py").write_text(
        "from dataclasses import dataclass\nfrom penstock import Sink, on\nfrom penstock.events import *\n"
        "@dataclass\nclass S:\n    size: int\n"
        "class Mine(Sink[S]):\n    def __init__(self, settings):\n        raise SystemExit(3)\n"
        "    @on(Submission)\n    async def h(self, event): ...\n"
    )
    text = SHIELDS.replace("NAME", "a").replace("penstock.sinks:ShieldsUp", "sink_of_sources_test:Mine") + 'run_in = "process"\n'
    (plug,) = _own(tmp_path, bindings=text + "settings = { size = 3 }\n")
    assert (type(plug.sink).__name__, plug.sink.settings.size) == ("Mine", 3)
    assert _fails(tmp_path, bindings=text + 'settings = { size = "x" }\n').where.endswith("binding.a.settings.size")
