"""What a configuration may say: one dataclass a table, with the defaults that administrators know.

A field that is not here is an error in the file, which names the nearest field that is.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..events.rule import Match
from .authenticating import AuthTable
from .capturing import CaptureTable
from .controls import Breaker, Canary, Process
from .fetching import FetchTable
from .limiting import LimitsTable
from .listening import ListenerTable
from .securing import TlsTable
from .sending import DeliveryTable, DnsTable, NoticesTable, RetryTable, RouteTable
from .submitting import SubmissionTable
from .tracing import TraceTable
from .values import Duration, Moment, Percent, located


@dataclass(slots=True)
class ServerTable:
    """``[server]``.

    Args:
        hostname: how the server calls itself in banner, EHLO and Received; a full domain name.
        name: the name of this virtual server, for sinks.
        spool: the folder in which messages are kept, one sub-folder a worker.
        control: the folder of the sockets by which ``penstock queue``, ``mailq`` and ``sendmail`` reach the workers.
        submit_group: a group of the system whose members may hand in mail with ``sendmail``; "" for the server's user and root alone.
        user: who the server becomes when root starts it, once ports are open and keys read: a name or a number; "" for who started it.
        group: its group, a name or a number; "" for the user's own.
        workers: processes; 0 for one a core.
        recipient_delimiter: what follows it in a local part is detail, not name, as in alice+lists; "" for none.
        drain: how long transactions under way may take when the server stops.
        bindings: a folder of further files with ``[[binding]]`` tables, read in order of their names; it need not be there.
        packages: names of installed packages' entry points in the group ``penstock.bindings``, whose bindings are taken.
    """

    hostname: str = field(default_factory=socket.getfqdn)
    name: str = "default"
    spool: Path = Path("penstock-data/spool")
    control: Path = Path("penstock-data/run")
    submit_group: str = ""
    user: str = ""
    group: str = ""
    workers: int = 0
    recipient_delimiter: str = "+"
    drain: Duration = Duration(300)
    bindings: Path = Path("bindings.d")
    packages: list[str] = field(default_factory=list)

    @property
    def worker_count(self) -> int:
        """How many processes there will be."""
        return self.workers or os.cpu_count() or 1


@dataclass(slots=True)
class RelayTable:
    """``[relay]``.

    Args:
        networks: clients that may send to any domain, beside authenticated ones. Nobody by default.
    """

    networks: list[str] = field(default_factory=list)


@dataclass(slots=True)
class DomainTable:
    """``[domain."example.com"]``.

    Args:
        kind: "local" for mail that is delivered here, "relay" for mail that is taken from anybody and sent on (a backup MX).
        deliver: how: ``maildir:PATH`` with {local}, {domain} and {detail}, ``drop:FOLDER``, ``pipe:COMMAND``, ``http://...`` or ``https://...``
            (a webhook), ``lmtp:[HOST]:PORT`` or ``lmtp:/SOCKET``, or ``discard:``.
        recipients: the local parts that there are; ``["*"]`` for any.
        aliases: a file in the syntax of /etc/aliases.
        virtual: a file of virtual addresses: ``address destination, destination ...`` on each line.
        catch_all: who gets the mail of addresses that do not exist otherwise; "" for nobody.
        fetched_by: users for whom the mail of this domain, of kind "relay", waits until one of them logs in and fetches it (ATRN).
    """

    kind: Literal["local", "relay"] = "local"
    deliver: str = "maildir:penstock-data/mail/{domain}/{local}"
    recipients: list[str] = field(default_factory=lambda: ["*"])
    aliases: Path | None = None
    virtual: Path | None = None
    catch_all: str = ""
    fetched_by: list[str] = field(default_factory=list)


@dataclass(slots=True)
class BindingTable:
    """``[[binding]]``.

    Args:
        name: unique.
        sink: ``module:Class``, or the name of an entry point in the group ``penstock.sinks``.
        listeners: names of listeners; all when empty.
        priority: 0 is asked first; built-in policy is at 16384.
        match: conditions, all of which must hold.
        timeout: how long a handler may take.
        on_error: what becomes of a question whose handler fails.
        run_in: "loop", "thread" or "process"; by default ``async def`` runs on the loop and ``def`` in a thread.
        threads: how many calls of plain ``def`` handlers run at once in a worker; a further one waits.
        concurrency: how many calls of all its handlers run at once in a worker; a further one waits. 0 for any number.
        enabled: false to ask it nothing.
        mode: "shadow" asks it about a copy and only compares what it says.
        canary: the part of the traffic that it is asked about while it is tried; none for all.
        sample: the part of messages that it is asked about, chosen by id; of sessions where there is no message yet.
        expires: from when on it is asked nothing; 0 for never.
        max_firings: calls in each worker after which it is asked nothing more; 0 for any number.
        breaker: when a binding that keeps failing is left alone, and for how long.
        process: what its process may take, with ``run_in = "process"``.
        settings: the sink's own settings.
    """

    name: str
    sink: str
    listeners: list[str] = field(default_factory=list)
    priority: int = 24575
    match: Match | None = None
    timeout: Duration = Duration(30)
    on_error: Literal["defer", "reject", "continue"] = "defer"
    run_in: Literal["", "loop", "thread", "process"] = ""
    threads: int = 4
    concurrency: int = 0
    enabled: bool = True
    mode: Literal["active", "shadow"] = "active"
    canary: str | Canary | None = None
    sample: Percent = Percent(100)
    expires: Moment = Moment(0)
    max_firings: int = 0
    breaker: Breaker = field(default_factory=Breaker)
    process: Process = field(default_factory=Process)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class LogTable:
    """``[log]``.

    Args:
        level: "debug", "info", "warning" or "error".
        format: "json", "human", or "auto": human on a terminal, JSON elsewhere.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "human"] = "auto"


@dataclass(slots=True)
class Config:
    """A whole configuration, checked.

    Args:
        path: the file it came from; relative paths in it start at its folder.
        server, limits, tls, auth, submission, retry, relay, log, dns, delivery, notices, capture, trace: the tables.
        listeners: by name.
        domains: by name, in lower case.
        routes: by pattern, in lower case.
        fetches: by next hop, in lower case.
        bindings: those of the file, in its order; ``sources`` knows of the others.
        raw_bindings: their tables as they were read.
        own_limits: of listeners that have such, by name.
    """

    path: Path
    server: ServerTable
    limits: LimitsTable
    tls: TlsTable
    auth: AuthTable
    submission: SubmissionTable
    retry: RetryTable
    relay: RelayTable
    log: LogTable
    dns: DnsTable
    delivery: DeliveryTable
    notices: NoticesTable
    capture: CaptureTable
    trace: TraceTable
    listeners: list[ListenerTable]
    domains: dict[str, DomainTable]
    routes: dict[str, RouteTable]
    fetches: dict[str, FetchTable]
    bindings: list[BindingTable]
    raw_bindings: list[dict[str, Any]]
    own_limits: dict[str, LimitsTable] = field(default_factory=dict)

    def limits_of(self, listener: str) -> LimitsTable:
        """The limits of a listener."""
        return self.own_limits.get(listener, self.limits)

    def resolve(self, path: Path | str) -> Path:
        """A path of the file, taken from the file's folder."""
        return located(self.path.parent, path)
