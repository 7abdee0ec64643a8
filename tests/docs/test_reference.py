"""The reference pages say what the code says: every event, verdict, table, key, default, condition and log line."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import pytest

from penstock import Match, verdicts
from penstock.config import schema
from penstock.config.load import convert
from penstock.events.catalog import CATALOG, Event, summary
from penstock.events.event import InSession
from penstock.events.outbound import OutboundEvent
from penstock.events.rule import impossible
from penstock.transport.outcome import Action

from .pages import ROOT, rows, sections

EVENTS = ROOT / "docs" / "events.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
OPERATIONS = ROOT / "docs" / "operations.md"
# What the server itself uses of an event object; not for sinks.
INTERNAL = {"work", "offered", "keep", "check", "editable", "kept", "restore"}


def test_every_event_has_its_section_in_order_of_the_session() -> None:
    """No event is missing and none is invented."""
    assert set(sections(EVENTS, "###")) == set(CATALOG)


@pytest.mark.parametrize("name", CATALOG)
def test_an_event_is_described_as_it_is(name: str) -> None:
    """Its verdicts, whether it has session and message, and every name that it carries."""
    event, text = CATALOG[name], sections(EVENTS, "###")[name]
    facts = dict(re.findall(r"^- (\w+): (.+(?:\n  .+)*)", text, re.MULTILINE))
    if event.report:
        assert facts["Answers"] == "none, it is a report"
    else:
        assert re.findall(r"`(\w+)`", facts["Answers"]) == summary(event)["admits"]
    has = set(re.findall(r"`(\w+)`", facts["Has"]))
    assert {"session", "message"} & has >= {attribute for attribute in ("session",) if _always_has_session(name)}
    own = {attribute for attribute in set(dir(event)) - set(dir(Event)) if not attribute.startswith("_")}
    for attribute in own - INTERNAL - {"session", "message"}:
        assert f"`{attribute}" in facts.get("Carries", ""), attribute


def _always_has_session(name: str) -> bool:
    return issubclass(CATALOG[name], InSession | OutboundEvent)


def test_verdicts_are_shown_with_their_defaults() -> None:
    """The table has each of them, written as it would be made, and nothing else."""
    shown = {row[0].strip("`") for row in rows(EVENTS.read_text()) if re.fullmatch(r"`[A-Z]\w+\(.*\)`", row[0])}
    assert {text.partition("(")[0] for text in shown} == set(verdicts.__all__) - {"Verdict"}
    for text in shown:
        name, _, arguments = text.removesuffix(")").partition("(")
        verdict = getattr(verdicts, name)
        required = [field.name for field in fields(verdict) if field.default is MISSING]
        given = [part for part in re.split(r", (?=\w+(?:=|,|$))", arguments) if part]
        assert [part for part in given if "=" not in part] == required, text
        optional = {field.name: field.default for field in fields(verdict) if field.default is not MISSING}
        assert {k: ast.literal_eval(v) for k, v in (part.split("=", 1) for part in given if "=" in part)} == optional, text


TABLES = {
    "[server]": schema.ServerTable,
    "[[listener]]": schema.ListenerTable,
    "[limits]": schema.LimitsTable,
    "[tls]": schema.TlsTable,
    "[auth]": schema.AuthTable,
    "[submission]": schema.SubmissionTable,
    "[retry]": schema.RetryTable,
    "[relay]": schema.RelayTable,
    '[domain."example.com"]': schema.DomainTable,
    '[route."example.org"]': schema.RouteTable,
    '[fetch."[odmr.example.net]:366"]': schema.FetchTable,
    "[delivery]": schema.DeliveryTable,
    "[dns]": schema.DnsTable,
    "[notices]": schema.NoticesTable,
    "[capture]": schema.CaptureTable,
    "[trace]": schema.TraceTable,
    "[[binding]]": schema.BindingTable,
    "[log]": schema.LogTable,
}


def test_every_table_has_its_section() -> None:
    """Each dataclass of the schema is documented."""
    tables = {value for name, value in vars(schema).items() if is_dataclass(value) and name.endswith("Table")}
    assert tables == set(TABLES.values())
    assert set(TABLES) == set(sections(CONFIGURATION, "##"))


@pytest.mark.parametrize("title", TABLES)
def test_keys_and_defaults_are_those_of_the_code(title: str) -> None:
    """In the same order; the default as one would write it means the same as leaving the key out."""
    cls: Any = TABLES[title]
    listed = {row[0].strip("`"): row[1] for row in rows(sections(CONFIGURATION, "##")[title])}
    assert list(listed) == [field.name for field in fields(cls)]
    required = {"name": "x", "sink": "x", "address": "127.0.0.1:25"}
    needed = {field.name: required[field.name] for field in fields(cls) if field.default is field.default_factory is MISSING}
    assert set(needed) == {name for name, default in listed.items() if default == "required"}
    plain = convert(needed, cls, "plain")
    for name, default in listed.items():
        if default in ("required", "the name of the host"):
            continue
        if default == "none":
            assert getattr(plain, name) is None
            continue
        written = tomllib.loads(f"value = {default.strip('`')}")["value"]
        assert getattr(convert({**needed, name: written}, cls, "written"), name) == getattr(plain, name), name


def test_every_condition_is_listed_with_where_it_is_known() -> None:
    """The keys are those of Match; where single events are named, they are those at which the condition can hold."""
    listed = {name: row[2] for row in rows(sections(CONFIGURATION, "###")["match"]) for name in re.findall(r"`(\w+)`", row[0])}
    assert set(listed) == {field.name for field in fields(Match)}
    for name, known in listed.items():
        possible = {event for event, cls in CATALOG.items() if not impossible(name, cls.__name__)}
        if known == "always":
            assert possible == set(CATALOG), name
        elif set(known.split(", ")) <= set(CATALOG):
            assert set(known.split(", ")) == possible, name


def _log_events() -> set[str]:
    """What the code logs: the first argument of every call of a log's methods."""
    # What became of a recipient is logged under the word for it.
    found = {action.value for action in Action} - {"unserved"}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            is_log = node.func.attr in ("info", "warning", "error", "debug") and "log" in ast.unparse(node.func.value).lower()
            if is_log and node.args and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value))
    return found


def test_every_log_line_is_explained() -> None:
    """An administrator who reads a line finds it on the page, and nothing there is made up."""
    listed = {name for row in rows(sections(OPERATIONS, "##")["What the log says"]) for name in re.findall(r"`([^`]+)`", row[0])}
    logged = _log_events()
    assert not logged - listed, "explain these in docs/operations.md"
    assert not listed - logged, "nothing logs these any more"
