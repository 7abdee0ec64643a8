"""Pages for what handlers read and change, for match conditions, and for settings."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from penstock.config import capturing, fetching, schema, sending, tracing
from penstock.config.values import Duration, Rate, Secret, Size
from penstock.events.catalog import CATALOG
from penstock.events.message import Message
from penstock.events.outbound import Remote
from penstock.events.plug import BreakerSettings, CanarySettings, ProcessSettings
from penstock.events.recipients import Recipients
from penstock.events.reports import Timings
from penstock.events.resolve import Item
from penstock.events.rule import Match, impossible
from penstock.events.sink import Sink
from penstock.events.views import MessageSnapshot, Queue, RemoteSession, Routes, Server, Session
from penstock.mail.address import Address
from penstock.mail.envelope import MailParameters, Recipient
from penstock.mail.header import Header
from penstock.mail.reply import Reply

from .words import HERE, arguments, default, said, section, sentence, signature, snake, table, typed

SEEN: tuple[type[Any], ...] = (
    Sink, Server, Queue, Routes, Session, RemoteSession, Remote, Message, MessageSnapshot, Header, Recipients, Recipient, MailParameters,
    Address, Reply, Item, Timings,
)  # fmt: skip
_INNER = {"commit", "work", "draft", "copy_of", "shown_recipients", "tidy"}
CONDITION_EXAMPLES = {
    "sender": '{ sender = ["*@example.net", ".partner.example"] }', "recipient": '{ recipient = "example.com" }',
    "helo": '{ helo = "*.dialup.example" }', "client": '{ client = ["192.0.2.0/24", "2001:db8::/32"] }', "listener": '{ listener = "mx" }',
    "authenticated": "{ authenticated = false }", "user": '{ user = "alice*" }', "tls": "{ tls = true }",
    "direction": '{ direction = "in" }',
    "origin": '{ origin = ["smtp", "pickup"] }', "size": '{ size = "> 1 MiB" }',
    "header": '{ header = { Subject = "*invoice*" } }',
    "verb": '{ verb = "MAIL" }', "code": '{ code = ["5xx", "4.7.*"] }', "destination": '{ destination = "example.org" }',
    "sample": "{ sample = 5 }", "rule": '{ rule = "mail from=*@example.net;rcpt to=sales*" }',
}  # fmt: skip
TABLES: dict[str, type[Any]] = {
    "server": schema.ServerTable, "listener": schema.ListenerTable, "limits": schema.LimitsTable,
    "tls": schema.TlsTable, "auth": schema.AuthTable, "submission": schema.SubmissionTable, "retry": sending.RetryTable,
    "relay": schema.RelayTable, "domain": schema.DomainTable, "route": sending.RouteTable,
    "fetch": fetching.FetchTable, "delivery": sending.DeliveryTable,
    "dns": sending.DnsTable, "notices": sending.NoticesTable, "binding": schema.BindingTable,
    "log": schema.LogTable, "capture": capturing.CaptureTable, "trace": tracing.TraceTable,
}  # fmt: skip
CONTROLS: dict[str, type[Any]] = {"breaker": BreakerSettings, "canary": CanarySettings, "process": ProcessSettings}


def pages() -> dict[str, str]:
    """The pages, by path."""
    made = {f"properties/{snake(cls.__name__)}.md": _class_page(cls) for cls in SEEN}
    rows = [(f"[{cls.__name__}]({snake(cls.__name__)}.md)", sentence(said(cls))) for cls in SEEN]
    made["properties/README.md"] = f"# What handlers see\n\n{HERE}\n" + table(("class", "what it is"), rows)
    made |= {f"match/{field.name}.md": _condition_page(field.name) for field in fields(Match)}
    told = arguments(Match)
    listed = [(f"[{field.name}]({field.name}.md)", told.get(field.name, "")) for field in fields(Match)]
    made["match/README.md"] = f"# Match conditions\n\n{HERE}\n{said(Match)}\n\n" + table(("condition", "what must hold"), listed)
    made |= {f"settings/{name}.md": _settings_page(name, cls) for name, cls in TABLES.items()}
    named = [(f"[{name}]({name}.md)", sentence(said(cls))) for name, cls in TABLES.items()]
    made["settings/README.md"] = f"# Settings\n\n{HERE}\n" + table(("table", "which"), named)
    return made


def _class_page(cls: type[Any]) -> str:
    parts = [f"# {cls.__name__}\n", HERE, said(cls) + "\n"]
    told, rows = arguments(cls), []
    own = {one.name: one for one in fields(cls)} if is_dataclass(cls) else {}
    for name, one in own.items():
        rows.append((f"`{name}`", f"`{typed(one.type)}`", told.get(name, "")))
    hints = get_type_hints(cls) if hasattr(cls, "__struct_fields__") else {}
    rows += [(f"`{name}`", f"`{typed(hints[name])}`", told.get(name, "")) for name in getattr(cls, "__struct_fields__", ())]
    for name in sorted(set(dir(cls)) - set(dir(object)) - _INNER - own.keys() - set(getattr(cls, "__struct_fields__", ()))):
        member = inspect.getattr_static(cls, name)
        if name.startswith("_") or not (isinstance(member, property | classmethod) or inspect.isfunction(member)):
            continue
        rows.append((f"`{name}`", _how(member), " ".join(said(_inner(member)).split()).replace("|", "\\|") + _raises(_inner(member))))
    parts.append(table(("name", "type", "what it is"), rows))
    if section(cls, "Source"):
        parts.append(f"Source: {section(cls, 'Source')}\n")
    return "\n".join(parts)


def _inner(member: Any) -> Any:
    return member.fget if isinstance(member, property) else member.__func__ if isinstance(member, classmethod) else member


def _how(member: Any) -> str:
    if isinstance(member, property) and member.fget is not None:
        settable = ", may be set" if member.fset else ""
        return f"`{typed(inspect.signature(member.fget).return_annotation)}`{settable}"
    function = _inner(member)
    text = f"`{signature(function)}`".replace("|", "\\|").replace("(cls, ", "(").replace("(cls)", "()")
    return f"{'`async` ' if inspect.iscoroutinefunction(function) else ''}{text}"


def _raises(function: Any) -> str:
    text = section(function, "Raises")
    return f" Raises {text}".replace("|", "\\|") if text else ""


def _condition_page(name: str) -> str:
    parts = [f"# {name}\n", HERE, f"{arguments(Match)[name]}\n"]
    hint = next(field for field in fields(Match) if field.name == name)
    parts.append(f"Type: `{hint.type}`. Not asked about when it is left out.\n")
    if name not in ("rule", "when"):
        known = [shown_as for shown_as, event in CATALOG.items() if not impossible(name, event.__name__)]
        parts.append("Known at: " + ", ".join(f"[{one}](../events/{snake(one)}.md)" for one in known) + ".\n")
    parts.append("## Example\n")
    if name == "when":
        parts.append("```python\nfrom penstock import Match\n\nlarge = Match(when=lambda event: len(event.recipients_now()) > 50)\n```\n")
    else:
        text = CONDITION_EXAMPLES[name]
        tried = ("RcptTo",) if name == "rule" else ("MailFrom", "RcptTo", "EndOfData", "ServerResponse", "Verb")
        event = next(one for one in tried if name == "rule" or not impossible(name, one))
        parts.append(f"```text\n[[binding]]\nmatch = {text}     # at {event}, for one\n```\n")
    return "\n".join(parts)


_UNITS = {
    Duration: 'a duration, such as `"30s"` or `"4h"`',
    Size: 'octets, such as `"25 MiB"`',
    Rate: 'a rate, such as `"10/s"`',
    Secret: "a secret, or a reference to one",
}


def _settings_page(name: str, cls: type[Any]) -> str:
    rows, told, hints = [], arguments(cls), get_type_hints(cls)
    for one in fields(cls):
        kind = hints[one.name]
        unit = next(
            (text for unit, text in _UNITS.items() if kind is unit or unit in getattr(kind, "__args__", ())), f"`{typed(one.type)}`"
        )
        rows.append((f"`{one.name}`", unit, default(one), told.get(one.name, "").replace("|", "\\|")))
    parts = [f"# {name}\n", HERE, said(cls) + "\n", table(("key", "type or unit", "default", "what it is"), rows)]
    if name == "binding":
        for inner, settings in CONTROLS.items():
            listed = [(f"`{o.name}`", f"`{typed(o.type)}`", default(o), arguments(settings).get(o.name, "")) for o in fields(settings)]
            parts += [f"## {inner}\n", said(settings) + "\n", table(("key", "type", "default", "what it is"), listed)]
    parts.append("Examples of every key are in the [configuration](../../configuration.md).\n")
    return "\n".join(parts)
