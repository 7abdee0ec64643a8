"""Sinks that hang, spin, leak, raise, end their process, answer nonsense, or block the loop: each hurts only itself.

One real server has them all, each bound to recipients of its own, beside honest mail that goes on all the time. What the message becomes
follows ``on_error``; what was acknowledged is delivered, once and unchanged; log, counters and trace say what happened.
"""

from __future__ import annotations

import json
import smtplib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.server import Server
from support.waiting import wait_until

SINKS = """
import ctypes
import os
import time

from penstock import Sink, on
from penstock.events import EndOfData
from penstock.verdicts import Drop


class Hang(Sink):
    @on(EndOfData)
    def handle(self, event: EndOfData) -> None:
        time.sleep(3600)


class Wait(Sink):
    @on(EndOfData)
    async def handle(self, event: EndOfData) -> None:
        import asyncio

        await asyncio.sleep(3600)


class Spin(Sink):
    @on(EndOfData)
    def handle(self, event: EndOfData) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pass


class Leak(Sink):
    @on(EndOfData)
    def handle(self, event: EndOfData) -> None:
        kept = []
        while True:
            kept.append(bytearray(16 * 1024 * 1024))


class Raise(Sink):
    @on(EndOfData)
    async def handle(self, event: EndOfData) -> None:
        raise RuntimeError("the database said: password hunter2")


class Exit(Sink):
    @on(EndOfData)
    def handle(self, event: EndOfData) -> None:
        os._exit(3)


class Crash(Sink):
    @on(EndOfData)
    def handle(self, event: EndOfData) -> None:
        ctypes.string_at(0)


class SysExit(Sink):
    @on(EndOfData)
    async def handle(self, event: EndOfData) -> None:
        raise SystemExit(1)


class Wrong(Sink):
    @on(EndOfData)
    async def handle(self, event):
        return Drop()


class Nonsense(Sink):
    @on(EndOfData)
    async def handle(self, event):
        return "550 go away"


class EditThenRaise(Sink):
    @on(EndOfData)
    async def handle(self, event: EndOfData) -> None:
        event.message.header.add("X-Half", "done")
        event.message.recipients.add("stranger@example.com")
        event.message.fork([event.message.recipients[0]])
        raise ValueError("too late")


class Block(Sink):
    @on(EndOfData)
    async def handle(self, event: EndOfData) -> None:
        time.sleep(0.8)
        raise RuntimeError("and then it fails")
"""
# What each mode can contain: in the server's own process nobody can stop a thread that spins, or take back os._exit.
MODES = {
    "": ["Hang", "Wait", "Raise", "SysExit", "Wrong", "Nonsense", "EditThenRaise", "Block"],
    "process": ["Hang", "Wait", "Spin", "Leak", "Raise", "Exit", "Crash", "SysExit", "Wrong", "Nonsense", "EditThenRaise", "Block"],
}
# What the log says of each.
SAID = {
    "Hang": "no answer within 1 s",
    "Wait": "no answer within 1 s",
    "Spin": "no answer within 1 s",
    "Leak": "MemoryError",
    "Raise": "RuntimeError: the database said",
    "Exit": "status 3",
    "Crash": "SIGSEGV",
    "SysExit": "SystemExit",
    "Wrong": "EndOfData cannot be answered with Drop",
    "Nonsense": "EndOfData cannot be answered with '550 go away'",
    "EditThenRaise": "ValueError: too late",
    "Block": "RuntimeError: and then it fails",
}
POLICIES = {"defer": 451, "reject": 554, "continue": 250}
BINDING = """
[[binding]]
name = "{name}"
sink = "bad_sinks:{sink}"
match = {{ recipient = "{name}@example.com" }}
on_error = "{policy}"
run_in = "{mode}"
timeout = "1s"
process = {{ memory = "300 MiB" }}
"""


class Case(NamedTuple):
    """One bad sink, how it runs, and what is to become of its messages."""

    sink: str
    mode: str
    policy: str

    @property
    def name(self) -> str:
        """Of the binding, and of the mailbox that it is bound to."""
        return f"{self.sink}-{self.mode or 'here'}-{self.policy}".lower()


CASES = [Case(sink, mode, policy) for mode, sinks in MODES.items() for sink in sinks for policy in POLICIES]


@dataclass
class Honest:
    """Mail that nobody is bound to, sent all the time."""

    server: Server
    sent: int = 0
    refused: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Sends until it is over."""
        while not self.over.is_set():
            code, text = send(self.server, "honest@example.com")
            if code == 250:
                self.sent += 1
            else:
                self.refused.append(text)


def send(server: Server, recipient: str) -> tuple[int, str]:
    """Sends a message; the reply to its content."""
    with smtplib.SMTP(*server.address, timeout=30) as client:
        client.ehlo("client.example")
        client.mail("sender@client.example")
        client.rcpt(recipient)
        code, text = client.data(b"Subject: to " + recipient.encode() + b"\r\n\r\nBody.\r\n")
        return code, text.decode()


class Ran(NamedTuple):
    """What is left when all bad sinks had their turn."""

    server: Server
    replies: dict[str, tuple[int, str]]
    honest: Honest
    bindings: dict[str, dict[str, Any]]
    traces: dict[str, str]
    workers: list[int]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Every case once, beside honest mail."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "sinks").mkdir()
    (folder / "sinks" / "bad_sinks.py").write_text(SINKS)
    bindings = "".join(BINDING.format(name=case.name, sink=case.sink, mode=case.mode, policy=case.policy) for case in CASES)
    with Server(folder, more=f"[trace]\nsample = 100\n{bindings}") as server:
        workers = list(server.workers)
        honest = Honest(server)
        sender = threading.Thread(target=honest.run)
        sender.start()
        try:
            replies = {case.name: send(server, f"{case.name}@example.com") for case in CASES}
        finally:
            honest.over.set()
            sender.join()
        rows = json.loads(server.command("bindings", "--json"))
        found = {row["binding"]: row for row in rows}
        traces = {name: trace_of(server, name) for name in replies}
        yield Ran(server, replies, honest, found, traces, workers)


def trace_of(server: Server, name: str) -> str:
    """The trace of the message for one mailbox."""
    lines = [line for line in server.log() if line.get("event") == "sink failed" and line.get("binding") == name]
    return server.command("trace", lines[0]["message"]) if lines else ""


def delivered(server: Server, name: str) -> list[bytes]:
    """The messages in a mailbox."""
    return [path.read_bytes() for path in Path(server.mail, "example.com", name, "new").glob("*")]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_sink_hurts_only_itself(case: Case, ran: Ran) -> None:
    """The reply follows on_error and tells nothing; mail that was acknowledged arrives once, as it was sent."""
    code, text = ran.replies[case.name]
    assert code == POLICIES[case.policy], text
    assert "hunter2" not in text
    expected = 1 if case.policy == "continue" else 0
    wait_until(lambda: len(delivered(ran.server, case.name)) == expected, f"{expected} in the mailbox", 10)
    for content in delivered(ran.server, case.name):
        assert b"X-Half" not in content
        assert content.endswith((b"\r\n\r\nBody.\r\n", b"\n\nBody.\n"))
    assert delivered(ran.server, "stranger") == []


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_log_counters_and_trace_say_what_happened(case: Case, ran: Ran) -> None:
    """By the name of the binding."""
    lines = [line for line in ran.server.log() if line.get("event") == "sink failed" and line.get("binding") == case.name]
    assert len(lines) == 1
    assert lines[0]["on_error"] == case.policy
    assert SAID[case.sink] in lines[0]["error"]
    row = ran.bindings[case.name]
    assert (row["matched"], row["errors"]) == (1, 1)
    assert case.name in ran.traces[case.name]


@pytest.mark.slow
def test_honest_mail_went_on_all_the_time(ran: Ran) -> None:
    """No refusal, no loss, no repetition; and the worker is the one that was started."""
    assert ran.honest.refused == []
    assert ran.honest.sent > len(CASES)
    wait_until(lambda: len(delivered(ran.server, "honest")) == ran.honest.sent, "all honest mail", 20)
    assert ran.server.children() == ran.workers


@pytest.mark.slow
def test_who_blocks_the_loop_is_named_with_its_stack(ran: Ran) -> None:
    """So that its author finds the line."""
    lines = [line for line in ran.server.log() if line.get("event") == "the loop is blocked" and "block-here" in str(line.get("binding"))]
    assert lines
    assert "time.sleep(0.8)" in "\n".join(lines[0]["stack"])
