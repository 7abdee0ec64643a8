"""What ``penstock sink new`` writes: a sink for an event, a test for it, and a binding, as text."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from ..config import load
from ..config.sources import in_files
from ..events.catalog import CATALOG
from ..events.event import AboutMessage, Event
from ..events.outbound import OutboundEvent
from ..testing.tester import method_name
from .exits import EX_CANTCREAT, EX_USAGE, Stop
from .sink_new import CONFIG

_SINK = '''\
"""{title}: says hello at {event}. Edit it, and this line."""

from dataclasses import dataclass

from penstock import Sink, on
from penstock.events import {event}
{imports}

@dataclass(frozen=True, slots=True)
class {title}Settings:
    """What the binding may set, in bindings.d/{name}.toml.

    Args:
        text: what it says.
    """

    text: str = "hello"


class {title}(Sink[{title}Settings]):
    """Says hello."""

    @on({mark})
    async def {handler}(self, event: {event}) -> {answers}:
        """{when}"""
{body}
'''
_TEST = '''\
"""The sink in sinks/{name}.py does what it should; run this with: pytest"""

from {name} import {title}, {title}Settings
from penstock.testing import SinkTesters
{imports}

async def test_it_says_hello(sink_tester: SinkTesters) -> None:
    tester = sink_tester({title}({title}Settings(text="hello there")))
{body}
'''
_BINDING = """\
# Binds the sink in sinks/{name}.py. All keys of a binding are described in docs/bindings.md.

[[binding]]
name = "{name}"
sink = "{name}:{title}"
# match = {{ recipient = "*@example.com" }}   # conditions; without any, it is asked about everything
settings = {{ text = "hello" }}
"""


@dataclass(frozen=True, slots=True)
class _Sample:
    """What a sink for one event does, and what its test says of it, as lines of code."""

    body: tuple[str, ...]
    test: tuple[str, ...]
    mark: str = ""
    says: tuple[str, ...] = ()


def written(name: str, event: str, folder: Path) -> dict[Path, str]:
    """The files, with their text: the configuration first, where there is none.

    Args:
        name: of the sink.
        event: the name of an event.
        folder: where the configuration is, or shall be.

    Raises: Stop for an event that there is not, or a binding that is there already; ConfigError for a configuration that cannot be used.
    """
    cls = _event(event)
    sample, title = _sample(name, event, cls), "".join(part.capitalize() for part in name.split("_"))
    verdicts = sorted({verdict.__name__ for verdict in cls.admits})
    used = sorted(sample.says)
    values = {"name": name, "title": title, "event": event, "handler": f"at_{method_name(cls)}"}
    sink = _SINK.format(
        **values,
        imports=f"from penstock.verdicts import {', '.join(verdicts)}\n" if verdicts else "",
        mark=f"{event}{sample.mark}",
        answers=" | ".join([*(verdict.__name__ for verdict in cls.admits), "None"]),
        when=(cls.__doc__ or "").split("\n")[0].strip(),
        body=_indented(sample.body if verdicts else tuple(line for line in sample.body if line not in ("return", "return None"))),
    )
    test = _TEST.format(
        **values,
        imports=f"from penstock.verdicts import {', '.join(used)}\n" if used else "",
        body="\n".join(f"    {x}" for x in sample.test),
    )
    files = {folder / "sinks" / f"{name}.py": sink, folder / "tests" / f"test_{name}.py": test}
    files[_bindings(name, folder) / f"{name}.toml"] = _BINDING.format(**values)
    config = folder / "penstock.toml"
    return files if config.exists() else {config: CONFIG, **files}


def _event(event: str) -> type[Event]:
    if event not in CATALOG:
        near = difflib.get_close_matches(event, CATALOG, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(CATALOG)}"
        raise Stop(EX_USAGE, f"there is no event {event!r}", hint)
    return CATALOG[event]


def _bindings(name: str, folder: Path) -> Path:
    """The folder of bindings that the configuration names. Raises Stop when there is a binding of this name; ConfigError."""
    path = folder / "penstock.toml"
    if not path.exists():
        return folder / "bindings.d"
    config = load(path)
    for one in in_files(config):
        if one.table.name == name:
            raise Stop(EX_CANTCREAT, f"there is a binding {name!r} already: {one.where}", "choose another name")
    found = config.resolve(config.server.bindings)
    return found.relative_to(folder.absolute()) if folder == Path() and found.is_relative_to(folder.absolute()) else found


def _indented(lines: tuple[str, ...]) -> str:
    return "\n".join(f"        {line}" if line else "" for line in lines)


def _sample(name: str, event: str, cls: type[Event]) -> _Sample:
    """What is done at an event: a verb answers, an authentication asks, a message is marked, an address is resolved; the rest is noted."""
    upper, ask = f"X-{name.replace('_', '-')}".upper()[:32], method_name(cls)
    if event == "Verb":
        answer = 'Respond(250, "2.0.0", "hello there")'
        return _Sample(
            ('return Respond(250, "2.0.0", self.settings.text)',),
            (f'assert await tester.verb("{upper}") == {answer}',),
            f', keyword="{upper}", advertise="{upper}"',
            ("Respond",),
        )
    if event == "Auth":
        return _Sample(
            (
                'user = await event.challenge(b"User:")',
                'if user == b"nobody":',
                '    return Reject(535, "5.7.8", self.settings.text)',
                "return Authenticated(user.decode())",
            ),
            (
                f'assert await tester.auth("{upper}", responses=[b"alice"]) == Authenticated("alice")',
                f'assert await tester.auth("{upper}", responses=[b"nobody"]) == Reject(535, "5.7.8", "hello there")',
            ),
            f', mechanism="{upper}"',
            ("Authenticated", "Reject"),
        )
    if event == "Resolve":
        return _Sample(
            (
                "for item in event.open:",
                '    if item.address.local == "hello":',
                '        item.rewrite(item.address.with_local("bob"))',
                "return",
            ),
            (
                '[item] = await tester.resolve("hello@example.com")',
                'assert [str(address) for address in item.members] == ["bob@example.com"]',
            ),
        )
    if issubclass(cls, AboutMessage) and not issubclass(cls, OutboundEvent) and event not in _TOO_EARLY:
        field = "-".join(part.capitalize() for part in f"x_{name}".split("_"))
        shown = "tester.notice" if event in _NOTICES else "tester.message"
        return _Sample(
            (f'event.message.header.add("{field}", self.settings.text)', "return None"),
            (f"assert await tester.{ask}() is None", f'assert {shown}.header.get("{field}") == "hello there"'),
        )
    return _Sample(
        ('self.log.info("saw", text=self.settings.text)', "return None"),
        (f"await tester.{ask}({_ARGUMENTS.get(event, '')})", 'assert tester.log.named("saw")[0]["text"] == "hello there"'),
    )


# Where the content cannot be edited yet.
_TOO_EARLY = frozenset({"MailFrom", "RcptTo", "Data", "EndOfHeaders"})
_NOTICES = frozenset({"Bounce", "DelayNotice", "SuccessNotice"})
_ARGUMENTS = {"ServerResponse": '"MAIL", "501 5.5.4 Syntax error"'}
