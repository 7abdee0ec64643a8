"""From tables to bound sinks: what cannot be imported, does not fit or could never fire is refused, with place and reason."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from penstock.config import load, plugs
from penstock.errors import ConfigError
from penstock.events.binding import Bindings
from penstock.events.catalog import LocalDelivery, RcptTo, Resolve
from penstock.events.plug import Plug

HEAD = '[server]\nhostname = "mx.example.com"\n[[listener]]\nname = "mx"\naddress = "127.0.0.1:0"\n'
# Every test has a module of its own, since Python imports a name only once.
_numbers = itertools.count()


def _bind(folder: Path, source: str, binding: str = "", head: str = HEAD) -> list[Plug]:
    """The plugs for a sink ``Mine`` in a module of this source, with these further lines in its binding."""
    module = f"sinks_of_registry_test_{next(_numbers)}"
    (folder / f"{module}.py").write_text(
        "from dataclasses import dataclass, field\nfrom pathlib import Path\nfrom penstock import Match, Sink, on\n"
        "from penstock.events import *\nfrom penstock.verdicts import Discard, Reject\n" + source
    )
    (folder / "penstock.toml").write_text(f'{head}\n[[binding]]\nname = "mine"\nsink = "{module}:Mine"\n{binding}\n')
    found = plugs(load(folder / "penstock.toml"))
    Bindings(found)
    return found


def _fails(folder: Path, source: str, binding: str = "") -> ConfigError:
    with pytest.raises(ConfigError) as failure:
        _bind(folder, source, binding)
    assert failure.value.where.startswith(f"{folder / 'penstock.toml'}: binding.mine")
    return failure.value


def _handler(line: str, body: str = "...") -> str:
    return f"class Mine(Sink):\n    {line}\n    async def handle(self, event): {body}\n"


def test_settings_reach_the_sink_as_its_dataclass(tmp_path: Path) -> None:
    """Paths start at the file; what is left out has the dataclass's default; nested dataclasses are tables."""
    source = (
        "@dataclass\nclass Inner:\n    depth: int = 3\n"
        "@dataclass\nclass S:\n    folder: Path\n    names: list[str] = field(default_factory=list)\n"
        "    inner: Inner = field(default_factory=Inner)\n"
        "class Mine(Sink[S]):\n    @on(Submission)\n    async def handle(self, event): ...\n"
    )
    *_, mine = _bind(tmp_path, source, 'settings = { folder = "../out", inner = { depth = 4 } }')
    settings = mine.sink.settings
    assert (settings.folder, settings.names, settings.inner.depth) == (tmp_path.resolve().parent / "out", [], 4)


SETTINGS = (
    "@dataclass\nclass S:\n    colour: str\n    size: int = 1\n"
    "class Mine(Sink[S]):\n    @on(Submission)\n    async def h(self, event): ...\n"
)


@pytest.mark.parametrize(
    ("binding", "where", "what", "hint"),
    [
        ("", ".settings", "missing required field 'colour'", ""),
        ('settings = { color = "red" }', ".settings", "unknown key 'color'", "did you mean 'colour'?"),
        ('settings = { colour = "red", size = "XL" }', ".settings.size", "expected 'int', got 'str'", ""),
    ],
)
def test_wrong_settings_name_the_key(tmp_path: Path, binding: str, where: str, what: str, hint: str) -> None:
    """As in every other table."""
    error = _fails(tmp_path, SETTINGS, binding)
    assert error.where.endswith(where)
    assert what in error.what
    assert hint in error.hint


def test_settings_for_a_sink_that_takes_none_are_refused(tmp_path: Path) -> None:
    """They would be ignored without a word."""
    error = _fails(tmp_path, _handler("@on(Submission)"), "settings = { a = 1 }")
    assert error.what == "Mine takes no settings"
    assert "class Mine(Sink[YourSettings])" in error.hint


def test_what_a_sink_itself_refuses_is_an_error_of_its_settings(tmp_path: Path) -> None:
    """A ValueError from __init__ is the sink's way to say that a value is out of the question."""
    source = "class Mine(Sink):\n    def __init__(self):\n        raise ValueError('no moon today')\n"
    assert _fails(tmp_path, source + "    @on(Submission)\n    async def h(self, event): ...\n").what == "no moon today"


@pytest.mark.parametrize(
    ("sink", "what", "hint"),
    [
        ("nowhere_to_be_found:Sink", "'nowhere_to_be_found' cannot be imported: ModuleNotFoundError", ""),
        ("penstock:Nothing", "module 'penstock' has no 'Nothing'", ""),
        ("penstock:Address", "'penstock:Address' is not a sink", "inherits from penstock.Sink"),
        ("penstock:__version__", "is not a sink", "inherits from penstock.Sink"),
        ("unheard_of", "no installed package offers a sink 'unheard_of'", "import path"),
    ],
)
def test_a_sink_that_cannot_be_found_is_told(tmp_path: Path, sink: str, what: str, hint: str) -> None:
    """Not importable, not there, not a sink, or an entry point that nobody has."""
    (tmp_path / "penstock.toml").write_text(f'{HEAD}\n[[binding]]\nname = "x"\nsink = "{sink}"\n')
    with pytest.raises(ConfigError) as failure:
        plugs(load(tmp_path / "penstock.toml"))
    assert failure.value.where.endswith("binding.x.sink")
    assert what in failure.value.what
    assert hint in failure.value.hint


def test_a_module_that_raises_is_told_with_its_error(tmp_path: Path) -> None:
    """The user's own mistake, in the user's words."""
    assert "SyntaxError" in _fails(tmp_path, "class Mine(Sink) pass\n").what
    assert "ZeroDivisionError: division by zero" in _fails(tmp_path, "1 / 0\n").what


def test_a_module_that_raises_attribute_error_is_not_said_to_lack_the_class(tmp_path: Path) -> None:
    """The mistake is within it; and a class that it really lacks may be in another module of the same name."""
    error = _fails(tmp_path, "import os\nos.nothing_of_the_kind\nclass Mine(Sink): ...\n")
    assert "AttributeError: module 'os' has no attribute" in error.what
    assert error.hint.endswith(".py, line 7")
    error = _fails(tmp_path, "class Other(Sink): ...\n")
    assert "has no 'Mine'" in error.what
    assert str(tmp_path) in error.hint


@pytest.mark.parametrize("code", ["0", "1", "'bye'"])
def test_a_module_that_ends_the_process_does_not_end_this_one(tmp_path: Path, code: str) -> None:
    """A script bound as a sink would otherwise make ``penstock check`` exit with 0, and say nothing."""
    error = _fails(tmp_path, f"import sys\nsys.exit({code})\n")
    assert f"it calls sys.exit({code})" in error.what


def test_whatever_a_module_raises_is_told(tmp_path: Path) -> None:
    """Not only what derives from Exception."""
    assert "GeneratorExit" in _fails(tmp_path, "raise GeneratorExit\n").what
    assert "SystemExit" not in _fails(tmp_path, "class Own(BaseException): ...\nraise Own('two\\nlines')\n").what


def test_ctrl_c_is_not_taken_for_a_fault_of_the_sink(tmp_path: Path) -> None:
    """Whoever presses it while a slow module is imported means it."""
    with pytest.raises(KeyboardInterrupt):
        _bind(tmp_path, "raise KeyboardInterrupt\n")


@pytest.mark.parametrize(
    ("raised", "what"),
    [
        ("RuntimeError('no moon')", "Mine cannot be made: RuntimeError: no moon"),
        ("KeyError('colour')", "Mine cannot be made: KeyError: 'colour'"),
        ("SystemExit(3)", "Mine cannot be made: it calls sys.exit(3)"),
        ("ValueError()", "Mine refuses its settings"),
    ],
)
def test_whatever_a_sink_raises_when_it_is_made_is_told(tmp_path: Path, raised: str, what: str) -> None:
    """With the place in the user's file."""
    source = f"class Mine(Sink):\n    def __init__(self):\n        raise {raised}\n"
    error = _fails(tmp_path, source + "    @on(Submission)\n    async def h(self, event): ...\n")
    assert error.what == what
    assert error.where.endswith("binding.mine.settings")
    if "made: " in what and "exit" not in what:
        assert error.hint.endswith(".py, line 8")


def test_a_sink_that_cannot_be_given_a_log_is_told(tmp_path: Path) -> None:
    """A frozen dataclass as a sink, say."""
    source = (
        "@dataclass(frozen=True)\nclass Mine(Sink):\n    def __init__(self): ...\n    @on(Submission)\n    async def h(self, event): ...\n"
    )
    assert "FrozenInstanceError" in _fails(tmp_path, source).what


def _package(folder: Path, name: str, entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that offers a sink under the name ``offered``."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[penstock.sinks]\noffered = {entry}\n")
    monkeypatch.syspath_prepend(folder)


def test_an_entry_point_that_cannot_be_loaded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is named by what it points to; and two packages with one name are not chosen from by chance."""
    config = tmp_path / "penstock.toml"
    config.write_text(f'{HEAD}\n[[binding]]\nname = "x"\nsink = "offered"\n')
    _package(tmp_path, "first", "missing_module_of_first:Thing", monkeypatch)
    with pytest.raises(ConfigError) as failure:
        plugs(load(config))
    assert failure.value.where.endswith("binding.x.sink")
    assert "missing_module_of_first:Thing, cannot be loaded: ModuleNotFoundError" in failure.value.what
    _package(tmp_path, "second", "penstock.sinks:ShieldsUp", monkeypatch)
    with pytest.raises(ConfigError, match="several installed packages") as failure:
        plugs(load(config))
    assert "penstock.sinks:ShieldsUp" in failure.value.hint


def test_unknown_keys_are_found_however_deep_they_are(tmp_path: Path) -> None:
    """Dataclasses in lists and in tables by name, and those that may be left out."""
    source = (
        "@dataclass\nclass Inner:\n    depth: int = 3\n"
        "@dataclass\nclass S:\n    many: list[Inner] = field(default_factory=list)\n"
        "    named: dict[str, Inner] = field(default_factory=dict)\n    one: Inner | None = None\n"
        "class Mine(Sink[S]):\n    @on(Submission)\n    async def handle(self, event): ...\n"
    )
    for settings, where in (
        ("many = [{}, { dept = 1 }]", "settings.many[1]"),
        ("named = { a = { dept = 1 } }", "settings.named.a"),
        ("one = { dept = 1 }", "settings.one"),
    ):
        error = _fails(tmp_path, source, f"settings = {{ {settings} }}")
        assert error.where.endswith(where)
        assert error.hint == "did you mean 'depth'?"


@pytest.mark.parametrize(
    ("source", "binding", "what"),
    [
        (_handler("@on(Submission)"), "timeout = 0", "a handler needs some time"),
        (_handler("@on(Submission)"), "threads = 0", "a handler needs at least one thread"),
        (_handler("@on(Submission)"), 'match = { size = ">1.2.3MiB" }', "should look like '>1MiB'"),
        (_handler("@on(Submission, match=Match(listener='smpt'))"), "", "there is no listener 'smpt'"),
        ("class Mine(Sink):\n    async def on_submission(self, event): ...\n", "", "handles no event"),
        (_handler("@on(Submission)"), "priority = 40000", "40000 is not between 0 and 32767"),
        (_handler("@on(Submission)"), "priority = -1", "-1 is not between 0 and 32767"),
        (_handler("@on(Submission)"), 'run_in = "thread"', "is for a plain 'def'"),
        (_handler("@on(Submission)", "yield"), "", "uses 'yield'"),
        ("class Mine(Sink):\n    @on(Submission)\n    async def h(self): ...\n", "", "a handler takes one event"),
        ("class Mine(Sink):\n    @on(Submission)\n    async def h(self, event: RcptTo): ...\n", "", "Submission but takes RcptTo"),
        ("class Mine(Sink):\n    @on(RcptTo)\n    async def h(self, event) -> int: ...\n", "", "RcptTo cannot be answered with int"),
        ("class Mine(Sink):\n    @on(Data)\n    async def h(self, event) -> Discard: ...\n", "", "Data cannot be answered with Discard"),
        ("class Mine(Sink):\n    @on(Accepted)\n    async def h(self, event) -> Reject | None: ...\n", "", "Accepted cannot be answered"),
        (_handler("@on(Ehlo)"), 'match = { recipient = "*@x" }', "'recipient' can never match at Ehlo: there is no message yet"),
        (_handler("@on(RcptTo)"), 'match = { header = { Subject = "x" } }', "'header' can never match at RcptTo"),
        (_handler("@on(Submission)"), 'match = { client = "300.1.2.3" }', "'client' is not understood"),
        (_handler("@on(Submission)"), 'match = { size = "large" }', "should look like '>1MiB'"),
        (_handler("@on(Submission)"), 'match = { origin = "pigeon" }', "'pigeon' is none of smtp"),
        (_handler("@on(Rejected)"), 'match = { code = "6xx" }', "should look like '5xx'"),
        (_handler("@on(Submission)"), "match = { sample = 101 }", "a percentage"),
        (_handler("@on(Submission)"), 'match = { rule = "data=*" }', "'rule' is not understood"),
        (_handler("@on(Submission)"), 'match = { rule = "mail from=*@x", sender = "y" }', "both ask about the sender"),
        (_handler("@on(Submission)"), 'listeners = ["mx"]\nmatch = { listener = "mx" }', "both name listeners"),
        (_handler("@on(Connected, match=Match(helo='x'))"), "", "'helo' can never match at Connected"),
    ],
)
def test_what_could_never_work_is_refused(tmp_path: Path, source: str, binding: str, what: str) -> None:
    """Silent non-firing is the one thing that a binding must not do."""
    assert what in _fails(tmp_path, source, binding).what


def test_a_name_stands_for_one_binding(tmp_path: Path) -> None:
    """Counters, logs and the memory of what was done go by the name."""
    (tmp_path / "penstock.toml").write_text(HEAD + '[[binding]]\nname = "a"\nsink = "penstock.sinks:ShieldsUp"\n' * 2)
    with pytest.raises(ConfigError, match="two bindings with the name 'a'; both are in this file"):
        plugs(load(tmp_path / "penstock.toml"))


def test_a_disabled_binding_is_not_even_imported(tmp_path: Path) -> None:
    """``enabled = false`` is how one takes a broken sink out."""
    (tmp_path / "penstock.toml").write_text(HEAD + '[[binding]]\nname = "a"\nsink = "nowhere:X"\nenabled = false\n')
    assert [plug.name for plug in plugs(load(tmp_path / "penstock.toml"))] == ["relay", "recipients", "deliver:pipe", "deliver:file"]


def test_sinks_lie_beside_the_file_or_in_a_folder_sinks_there(tmp_path: Path) -> None:
    """Both without any path to set."""
    (tmp_path / "sinks").mkdir()
    (tmp_path / "sinks" / "in_the_folder_sinks.py").write_text(
        "from penstock import Sink, on\nfrom penstock.events import Data\n"
        "class A(Sink):\n    @on(Data)\n    async def h(self, event): ...\n"
    )
    (tmp_path / "penstock.toml").write_text(HEAD + '[[binding]]\nname = "a"\nsink = "in_the_folder_sinks:A"\n')
    assert plugs(load(tmp_path / "penstock.toml"))[-1].name == "a"


def test_the_tables_become_bindings_of_the_sinks_that_ship(tmp_path: Path) -> None:
    """Relay control, recipients with aliases, aliases, and a delivery for each domain; at the built-in priority."""
    (tmp_path / "aliases").write_text("sales: ann\n")
    (tmp_path / "penstock.toml").write_text(
        HEAD + '[domain."a.example"]\ndeliver = "maildir:m/{local}"\nrecipients = ["ann"]\naliases = "aliases"\n'
        '[domain."b.example"]\ndeliver = "drop:in"\n[domain."c.example"]\ndeliver = "discard:"\n'
    )
    found = plugs(load(tmp_path / "penstock.toml"))
    bound = Bindings(found)
    assert [plug.name for plug in found] == [
        "relay", "aliases", "recipients", "unknown", "deliver:pipe", "deliver:file",
        "deliver:a.example", "deliver:b.example", "deliver:c.example",
    ]  # fmt: skip
    assert {plug.name: plug.priority for plug in found if plug.priority != 16384} == {"recipients": 16385, "unknown": 16385}
    assert [b.name for b in bound.chain(RcptTo)] == ["relay", "aliases", "recipients"]
    assert [b.name for b in bound.chain(Resolve)] == ["aliases", "unknown"]
    assert [b.name for b in bound.chain(LocalDelivery)] == [plug.name for plug in found[4:]]


@pytest.mark.parametrize("deliver", ["maildir", "maildir:", "mbox:/var/mail", "/var/mail", "drop:"])
def test_a_delivery_that_is_not_understood_is_told(tmp_path: Path, deliver: str) -> None:
    """With the kinds that there are."""
    (tmp_path / "penstock.toml").write_text(HEAD + f'[domain."a.example"]\ndeliver = "{deliver}"\n')
    with pytest.raises(ConfigError) as failure:
        plugs(load(tmp_path / "penstock.toml"))
    assert failure.value.where.endswith('domain."a.example".deliver')
    assert "maildir:PATH" in failure.value.hint


def test_a_maildir_template_with_an_unknown_name_is_told(tmp_path: Path) -> None:
    """It would otherwise fail with the first message."""
    (tmp_path / "penstock.toml").write_text(HEAD + '[domain."a.example"]\ndeliver = "maildir:mail/{user}"\n')
    with pytest.raises(ConfigError, match="user"):
        plugs(load(tmp_path / "penstock.toml"))


def test_a_network_that_is_none_is_told(tmp_path: Path) -> None:
    """In the words of the sink that carries out [relay]."""
    (tmp_path / "penstock.toml").write_text(HEAD + '[relay]\nnetworks = ["10.0.0.0/33"]\n')
    with pytest.raises(ConfigError, match=r"10\.0\.0\.0/33") as failure:
        plugs(load(tmp_path / "penstock.toml"))
    assert failure.value.where.endswith("penstock.toml: relay")
