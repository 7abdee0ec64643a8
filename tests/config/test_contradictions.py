"""What could never fire is refused, with the reason; and what could fire is not."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from penstock.config import load, overlap, plugs
from penstock.errors import ConfigError
from penstock.events.binding import Bindings

HEAD = '[server]\nhostname = "mx.example.com"\n[[listener]]\nname = "mx"\naddress = "127.0.0.1:0"\n'
_numbers = itertools.count()


def _bind(folder: Path, mark: str, binding: str, more: str = "") -> Bindings:
    """The bindings of a sink ``Mine`` whose handler has this decorator, with these further lines, and further tables."""
    module = f"sinks_of_contradictions_test_{next(_numbers)}"
    (folder / f"{module}.py").write_text(
        f"from penstock import Match, Sink, on\nfrom penstock.events import *\n"
        f"class Mine(Sink):\n    {mark}\n    async def h(self, event): ...\n"
        "class Other(Sink):\n    @on(Submission)\n    async def h(self, event): ...\n"
    )
    more = more.replace("MODULE", module)
    (folder / "penstock.toml").write_text(f'{HEAD}[[binding]]\nname = "mine"\nsink = "{module}:Mine"\n{binding}\n{more}')
    return Bindings(plugs(load(folder / "penstock.toml")))


OLD = '[[binding]]\nname = "old"\nsink = "MODULE:Mine"\n'


@pytest.mark.parametrize(
    ("mark", "binding", "key", "what"),
    [
        ("@on(RcptTo)", 'match = { authenticated = false, user = "alice" }', "match", "without authentication there is no user"),
        ("@on(RcptTo, match=Match(user='alice'))", "match = { authenticated = false }", "match.authenticated", "without authentication"),
        ("@on(RcptTo, match=Match(authenticated=True))", "match = { authenticated = false }", "match.authenticated", "true there"),
        ("@on(RcptTo, match=Match(tls=False))", "match = { tls = true }", "match.tls", "can never both hold"),
        ("@on(Submission, match=Match(sender='a.example'))", 'match = { sender = "b.example" }', "match.sender", "a.example there"),
        ("@on(Submission, match=Match(sender='a@*.example'))", 'match = { sender = "b@*" }', "match.sender", "never both hold"),
        (
            "@on(RcptTo, match=Match(recipient='a.example'))",
            'match = { recipient = ["b.example", "c.example"] }',
            "match.recipient",
            "never",
        ),
        ("@on(RcptTo, match=Match(destination='.a.example'))", 'match = { destination = "b.example" }', "match.destination", "never"),
        ("@on(Ehlo, match=Match(helo='mail.*'))", 'match = { helo = "mx.*" }', "match.helo", "never both hold"),
        ("@on(RcptTo, match=Match(client='10.0.0.0/8'))", 'match = { client = "192.168.0.0/16" }', "match.client", "never both hold"),
        ("@on(RcptTo, match=Match(listener='m*'))", "", "", ""),
        ("@on(Submission, match=Match(direction='in'))", 'match = { direction = ["out", "internal"] }', "match.direction", "never"),
        ("@on(Submission, match=Match(origin='dsn'))", 'match = { origin = ["smtp", "sink"] }', "match.origin", "never"),
        ("@on(Submission)", 'match = { origin = "dsn", client = "10.0.0.0/8" }', "match", "comes through no session"),
        ("@on(Submission)", 'match = { origin = ["dsn", "sink"], authenticated = true }', "match", "comes through no session"),
        ("@on(Submission)", 'match = { origin = "sink", direction = "out" }', "match", "is internal"),
        ("@on(RcptTo)", 'match = { origin = "dsn" }', "match", "no session brings mail from dsn"),
        ("@on(Connected)", 'match = { direction = "internal" }', "match", "what a session brings is not internal"),
        ("@on(Verb, keyword='XPING')", 'match = { verb = "XPONG" }', "match.verb", "for the verb XPING"),
        ("@on(Submission)", 'sample = "0%"', "sample", "never asked"),
        ("@on(Submission)", 'canary = "0%"', "canary", "never asked"),
        ("@on(Submission)", "canary = { percent = 0 }", "canary", "never asked"),
        ("@on(Submission)", 'canary = "some"', "canary", "is not a percentage"),
        ("@on(Submission)", 'canary = "5%"\nmode = "shadow"', "canary", "a shadow answers nobody"),
        ("@on(Submission)", 'canary = { percent = 5, replaces = "new" }', "canary.replaces", "there is no binding 'new'"),
        ("@on(Submission)", 'canary = { percent = 5, replaces = "mine" }', "canary.replaces", "does not replace itself"),
        ("@on(RcptTo)", 'canary = { percent = 5, replaces = "other" }', "canary.replaces", "handles none of the events"),
        ("@on(Submission)", 'canary = { percent = 5, replaces = "shade" }', "canary.replaces", "'shade' is a shadow"),
        ("@on(Submission)", "concurrency = -1", "concurrency", "not below 0"),
        ("@on(Submission)", "max_firings = -1", "max_firings", "not below 0"),
        ("@on(Submission)", "breaker = { failures = -1 }", "breaker.failures", "not below 0"),
        ("@on(Submission)", "breaker = { rest = 0 }", "breaker.rest", "needs some time"),
        ("@on(Submission)", 'breaker = { rest = "1h" }', "breaker.longest", "shorter than"),
        ("@on(Submission)", 'run_in = "process"\nprocess = { processes = 0 }', "process.processes", "at least one"),
    ],
)
def test_what_excludes_itself_is_refused_with_the_key(tmp_path: Path, mark: str, binding: str, key: str, what: str) -> None:
    others = '[[binding]]\nname = "other"\nsink = "MODULE:Other"\n[[binding]]\nname = "shade"\nsink = "MODULE:Other"\nmode = "shadow"\n'
    if not what:
        _bind(tmp_path, mark, binding, others)
        return
    with pytest.raises(ConfigError) as failure:
        _bind(tmp_path, mark, binding, others)
    assert failure.value.where == f"{tmp_path / 'penstock.toml'}: binding.mine.{key}"
    assert what in failure.value.what


@pytest.mark.parametrize(
    ("mark", "binding"),
    [
        ("@on(RcptTo)", 'match = { authenticated = false, user = "*" }'),
        ("@on(Submission, match=Match(recipient='a.example'))", 'match = { recipient = "b.example" }'),
        ("@on(Submission, match=Match(sender='.example'))", 'match = { sender = "a@b.example" }'),
        ("@on(Submission, match=Match(sender='<>'))", 'match = { sender = "*" }'),
        ("@on(Submission, match=Match(sender='*a*'))", 'match = { sender = "*b*" }'),
        ("@on(RcptTo, match=Match(client='10.0.0.0/8'))", 'match = { client = "10.1.2.3" }'),
        ("@on(Submission)", 'match = { origin = ["dsn", "smtp"], client = "10.0.0.0/8" }'),
        ("@on(Verb, keyword='XPING')", 'match = { verb = "XP*" }'),
        ("@on(Submission)", 'canary = { percent = "5%", replaces = "old" }'),
        ("@on(Submission)", 'canary = "5%"\nsample = "50%"\nmax_firings = 3'),
        ("@on(Submission, match=Match(sender='a.example'))", 'match = { sender = "b.example" }\nenabled = false'),
    ],
)
def test_what_may_hold_together_is_let_through(tmp_path: Path, mark: str, binding: str) -> None:
    """A message of several recipients may meet a condition with one of them, and another with another."""
    _bind(tmp_path, mark, binding, OLD)


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("*", "", True), ("a*", "*b", True), ("a*", "b*", False), ("ab", "a*b", True), ("a*c", "ab*d", False), ("A", "a", True),
        ("*x*", "*y*", True), ("", "a", False), ("a**", "ab", True), ("*" * 150, "*" * 150, True),
        ("a*" * 90 + "b", "a*" * 90 + "c", False),
    ],
)  # fmt: skip
def test_patterns_overlap_when_some_text_meets_both(one: str, other: str, meet: bool) -> None:
    assert overlap.texts([one], [other]) is meet
    assert overlap.texts([other], [one]) is meet
