"""Generations of a worker: what a reload keeps, starts, tells and stops, and that what fails changes nothing."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from events.harness import FakeBackplane, KeptLog
from hosts.running import until
from penstock.app.generations import GenerationParts, Generations, GenerationSettings
from penstock.config import load, plugs
from penstock.errors import ConfigError
from penstock.events.binding import Bindings
from penstock.events.dispatch import Dispatcher

HEAD = """\
[server]
hostname = "mx.example.com"
spool = "spool"
workers = 1

[[listener]]
name = "mx"
address = "127.0.0.1:0"

[domain."example.com"]
deliver = "discard:"
"""
SINK = """\
from dataclasses import dataclass
from penstock import Sink, on
from penstock.events import RcptTo

LIVES = []


@dataclass(frozen=True)
class Settings:
    word: str = "none"


class Say(Sink[Settings]):
    async def start(self):
        LIVES.append(("start", self.settings.word))

    async def stop(self):
        LIVES.append(("stop", self.settings.word))

    @on(RcptTo)
    async def look(self, event: RcptTo) -> None: ...
"""
CHANGES = """
    async def settings_changed(self, settings):
        LIVES.append((self.settings.word, settings.word))
        if settings.word == "bad":
            raise ValueError("that is no word")
"""


class World:
    """A configuration with one binding, and its generations.

    Args:
        folder: where the files are.
        name: of the module, which is another one in each test.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.log = KeptLog()
        self.switched: list[int] = []
        self.generations: Generations

    def write(self, sink: str = SINK, word: str = "one", more: str = "") -> None:
        (self.folder / f"{self.name}.py").write_text(sink)
        binding = f'\n[[binding]]\nname = "say"\nsink = "{self.name}:Say"\nsettings = {{ word = "{word}" }}\n{more}'
        (self.folder / "penstock.toml").write_text(HEAD + binding)

    async def begin(self, **settings: float) -> None:
        config = load(self.folder / "penstock.toml")
        parts = GenerationParts(FakeBackplane(), Dispatcher(self.log), self.log)  # type: ignore[arg-type]
        self.generations = Generations(config, plugs(config), parts, GenerationSettings(**settings))
        self.generations.switch = lambda loaded, bindings: self.switched.append(bindings.generation)
        await self.generations.start()

    @property
    def lives(self) -> list[tuple[str, str]]:
        """What the sinks of the module in force noted."""
        found: list[tuple[str, str]] = sys.modules[self.name].LIVES
        return found

    @property
    def sink(self) -> Any:
        return next(plug.sink for plug in self.generations.bindings.plugs if plug.name == "say")

    async def refused(self, match: str) -> None:
        """A reload fails with these words, and nothing is other than before."""
        before, module = self.generations.bindings, sys.modules[self.name]
        switched = len(self.switched)
        with pytest.raises(ConfigError, match=match):
            await self.generations.reload()
        assert self.generations.bindings is before
        assert sys.modules[self.name] is module
        assert len(self.switched) == switched
        assert self.generations.last_error
        assert self.log.lines[-1]["event"] == "reload failed, the old generation runs on"


@pytest.fixture
async def world(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(sys, "path", sys.path[:])
    made = World(tmp_path, f"say_{abs(hash(request.node.name)) % 10**8}")
    made.write()
    yield made
    await made.generations.stop()
    sys.modules.pop(made.name, None)


async def test_what_did_not_change_keeps_its_object(world: World) -> None:
    """The shipped sinks too, whose settings come from tables."""
    await world.begin()
    before = {plug.name: plug.sink for plug in world.generations.bindings.plugs}
    done = await world.generations.reload()
    assert done.changed == ()
    assert {plug.name: plug.sink for plug in world.generations.bindings.plugs} == before
    assert world.lives == [("start", "one")]
    assert world.generations.bindings.generation == 2


async def test_new_code_starts_before_the_switch_and_the_old_stops_when_nobody_works_with_it(world: World) -> None:
    await world.begin()
    old, lives = world.generations.bindings, world.lives
    old.uses.begin()
    world.write(SINK + "\nNEW = 1\n")
    done = await world.generations.reload()
    assert done.changed == ("say",)
    assert world.lives == [("start", "one")]
    assert world.generations.retiring == 1
    await asyncio.sleep(0.02)
    assert lives == [("start", "one")]
    old.uses.end()
    await until(lambda: lives == [("start", "one"), ("stop", "one")], "the old sink stops")
    assert world.generations.retiring == 0


async def test_an_old_generation_that_is_used_for_too_long_is_ended(world: World) -> None:
    await world.begin(retire=0.05)
    world.generations.bindings.uses.begin()
    lives = world.lives
    world.write(SINK + "\nNEW = 1\n")
    await world.generations.reload()
    await until(lambda: ("stop", "one") in lives, "the old sink stops")
    assert [line["uses"] for line in world.log.lines if line["event"] == "an old generation is ended while it is used"] == [1]


async def test_a_sink_that_two_old_generations_share_stops_with_the_last(world: World) -> None:
    await world.begin()
    first, lives = world.generations.bindings, world.lives
    first.uses.begin()
    world.write(more="priority = 5\n")
    await world.generations.reload()
    second = world.generations.bindings
    second.uses.begin()
    world.write(SINK + "\nNEW = 1\n")
    await world.generations.reload()
    first.uses.end()
    await until(lambda: world.generations.retiring == 1, "the first is over")
    assert ("stop", "one") not in lives
    second.uses.end()
    await until(lambda: ("stop", "one") in lives, "the sink stops")


async def test_other_settings_make_another_object_unless_the_sink_takes_them(world: World) -> None:
    await world.begin()
    old = world.sink
    world.write(word="two")
    await world.generations.reload()
    assert world.sink is not old
    world.write(SINK + CHANGES, word="two")
    await world.generations.reload()
    kept = world.sink
    world.write(SINK + CHANGES, word="three")
    done = await world.generations.reload()
    assert done.changed == ("say",)
    assert world.sink is kept
    assert kept.settings.word == "three"
    assert world.lives == [("start", "two"), ("two", "three")]


async def test_settings_that_a_sink_refuses_leave_it_with_those_that_it_had(world: World) -> None:
    world.write(SINK + CHANGES)
    await world.begin()
    world.write(SINK + CHANGES, word="bad")
    await world.refused("does not take its new settings: ValueError: that is no word")
    assert world.sink.settings.word == "one"


@pytest.mark.parametrize(
    ("sink", "match"),
    [
        ("def broken(:\n", r"SyntaxError: .*say_\d+.py, line 1"),
        ("import no_such_module_here\n", "ModuleNotFoundError"),
        (SINK.replace("RcptTo) -> None", "RcptTo) -> int"), "cannot be answered with int"),
        (
            SINK.replace('LIVES.append(("start"', "raise OSError('no disk')\n        LIVES.append((\"start\""),
            "does not start: OSError: no disk",
        ),
        (SINK.replace('LIVES.append(("start"', 'raise SystemExit(3)\n        LIVES.append(("start"'), r"sys.exit\(3\)"),
        (SINK.replace("LIVES = []", "LIVES = []\nraise SystemExit(0)"), "sys.exit"),
        (SINK.replace("class Say(", "class Other("), "has no 'Say'"),
    ],
)
async def test_broken_code_changes_nothing(world: World, sink: str, match: str) -> None:
    await world.begin()
    world.write(sink)
    await world.refused(match)
    world.write(SINK + "\nNEW = 1\n")
    assert (await world.generations.reload()).changed == ("say",)
    assert world.generations.last_error == ""


async def test_a_sink_whose_start_hangs_is_given_up_and_those_before_it_are_stopped(world: World) -> None:
    """Even one that will not be cancelled."""
    await world.begin(start=0.05)
    hangs = SINK.replace("LIVES.append((\"start\", self.settings.word))", """
        import asyncio
        LIVES.append(("start", self.settings.word))
        while self.settings.word == "two":
            try:
                await asyncio.sleep(0.2)
                return
            except asyncio.CancelledError:
                pass
""")  # fmt: skip
    other = f'\n[[binding]]\nname = "first"\nsink = "{world.name}:Say"\nsettings = {{ word = "three" }}\n'
    (world.folder / f"{world.name}.py").write_text(hangs)
    binding = f'\n[[binding]]\nname = "say"\nsink = "{world.name}:Say"\nsettings = {{ word = "two" }}\n'
    (world.folder / "penstock.toml").write_text(HEAD + other + binding)
    noted: list[Any] = []
    world.folder.joinpath(f"{world.name}.py").write_text(hangs.replace("LIVES = []", "import sys\nLIVES = sys.noted_by_a_test"))
    sys.noted_by_a_test = noted  # type: ignore[attr-defined]
    try:
        await world.refused("does not start: TimeoutError")
    finally:
        del sys.noted_by_a_test  # type: ignore[attr-defined]
    assert noted == [("start", "three"), ("start", "two"), ("stop", "three")]


async def test_a_constructor_that_blocks_neither_holds_up_the_loop_nor_the_next_reload_for_ever(world: World) -> None:
    """The log says where it hangs; when it comes back at last, what it made is thrown away."""
    await world.begin(load=0.2)
    blocks = SINK.replace("    async def start", "    def __init__(self, settings):\n        super().__init__(settings)\n"
                          "        import sys\n        sys.gate_of_a_test.wait(10)\n\n    async def start", 1)  # fmt: skip
    import threading

    gate = threading.Event()
    sys.gate_of_a_test = gate  # type: ignore[attr-defined]
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    world.write(blocks)
    await world.refused(rf"not loaded within 0.2 s: it hangs in .*{world.name}.py, line 1[0-9]")
    assert ticks > 5
    world.write(SINK + "\nNEW = 1\n")
    await world.refused("an earlier reload still hangs")
    gate.set()
    await until(lambda: not world.generations._loader.hangs, "the thread ends")
    assert (await world.generations.reload()).changed == ("say",)
    assert hasattr(sys.modules[world.name], "NEW")
    ticking.cancel()
    del sys.gate_of_a_test  # type: ignore[attr-defined]


async def test_two_hundred_reloads_leave_nothing_behind(world: World) -> None:
    """Sinks, classes, modules and bindings of old generations are gone: only what is in force is there."""
    others = sum(isinstance(found, Bindings) for found in gc.get_objects())
    await world.begin()
    seen: list[weakref.ref[Any]] = []
    counts: list[int] = []
    for number in range(200):
        world.write(SINK + f"\nNEW = {number}\n", word=f"w{number}")
        await world.generations.reload()
        seen.append(weakref.ref(type(world.sink)))
        if number in (99, 199):
            await until(lambda: world.generations.retiring == 0, "the old ones are over")
            world.log.lines.clear()
            gc.collect()
            counts.append(len(gc.get_objects()))
    alive = [ref for ref in seen if ref() is not None]
    # Python's own cache of ``Sink[Settings]`` has room for some of them.
    assert len(alive) <= 130, len(alive)
    assert sum(isinstance(found, Bindings) for found in gc.get_objects()) <= others + 5
    assert counts[1] - counts[0] < 0.2 * counts[0] / 10 + 15_000, counts


async def test_counters_and_standing_go_on_through_a_reload(world: World) -> None:
    await world.begin()
    plug = next(plug for plug in world.generations.bindings.plugs if plug.name == "say")
    plug.standing.firings = 7
    world.write(SINK + "\nNEW = 1\n")
    await world.generations.reload()
    plug = next(plug for plug in world.generations.bindings.plugs if plug.name == "say")
    assert plug.standing.firings == 7


async def test_reloads_at_once_come_one_after_the_other(world: World) -> None:
    await world.begin()
    done = await asyncio.gather(*(world.generations.reload() for _ in range(3)))
    assert [one.generation for one in done] == [2, 3, 4]


async def test_what_a_reload_cannot_take_up_is_named(world: World) -> None:
    await world.begin()
    text = (world.folder / "penstock.toml").read_text()
    for old, new in (('spool = "spool"', 'spool = "other"'), ("workers = 1", "workers = 4"), ('address = "127', 'address = "128')):
        text = text.replace(old, new)
    (world.folder / "penstock.toml").write_text(text + "\n[dns]\nattempts = 5\n")
    done = await world.generations.reload()
    assert set(done.restart) == {"server.spool", "server.workers", "listener", "dns"}
