"""The mail servers that the relay benchmark measures: each takes mail from anybody here and passes all of it on to one place.

All are as durable as they come, with the logging they come with, on one file system; limits on clients are out of the way. What each
was told beyond its defaults stands in its class.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

from tests.support import mailservers, postfix, processes, server
from tests.support.needs import program
from tests.support.unpacked import CACHE
from tests.support.waiting import wait_until

PENSTOCK = """\
[limits]
connections_per_client = 1000
[relay]
networks = ["127.0.0.1"]
[delivery]
smart_host = "[{host}]:{port}"
"""

HARAKA = CACHE / "haraka"
HARAKA_VERSION = "3.3.4"

# What its manual describes for a smart host: whoever connects may relay, and the MX of everything is one place. A plug-in may not be called
# relay_all: that is the old name of a shipped one.
HARAKA_PLUGIN = """\
'use strict'
exports.register = function () {{ this.register_hook('rcpt', 'relay'); this.register_hook('get_mx', 'next_hop') }}
exports.relay = function (next, connection) {{ connection.relaying = true; next(OK) }}
exports.next_hop = function (next) {{ next(OK, {{ exchange: '{host}', port: {port}, priority: 0 }}) }}
"""


class Missing(Exception):
    """A server that cannot be measured here, and why."""


class Relay(Protocol):
    """A server under measurement."""

    name: str
    countable: bool
    """Whether all its processes stay below ``root`` until their CPU is counted there."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    @property
    def address(self) -> tuple[str, int]: ...
    @property
    def root(self) -> int:
        """The process whose descendants do the work, itself included."""
        ...


class Penstock:
    """Penstock with its default bindings."""

    countable = True

    def __init__(self, folder: Path, to: tuple[str, int], workers: int, name: str) -> None:
        self.name = name
        self._server = server.Server(folder / name.replace(" ", "-"), workers=workers, more=PENSTOCK.format(host=to[0], port=to[1]))

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    @property
    def address(self) -> tuple[str, int]:
        return self._server.address

    @property
    def root(self) -> int:
        return self._server.supervisor

    @property
    def worker(self) -> int:
        """One process that does the work, for profilers."""
        return self._server.workers[0]


class Postfix:
    """Postfix with a relayhost. Connections are kept on demand, as by default, or (``cache``) always."""

    countable = True

    def __init__(self, folder: Path, to: tuple[str, int], cache: bool = False) -> None:
        self.name = "Postfix (connection cache)" if cache else "Postfix"
        more = f"relayhost = [{to[0]}]:{to[1]}\n" + (f"smtp_connection_cache_destinations = [{to[0]}]:{to[1]}\n" if cache else "")
        self._postfix = postfix.Postfix(more, folder)

    def __enter__(self) -> Self:
        self._postfix.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._postfix.__exit__()

    @property
    def address(self) -> tuple[str, int]:
        return self._postfix.address

    @property
    def root(self) -> int:
        return self._postfix.process.pid


class Haraka:
    """Haraka with its own outbound queue on disk, which it syncs before it answers; one process, as by default.

    Its plug-in ``queue/smtp_forward`` is not what is measured: that one keeps nothing and passes the client's session on.
    """

    name = "Haraka"
    countable = True

    def __init__(self, folder: Path, to: tuple[str, int]) -> None:
        self._folder = folder / "haraka"
        self._port = mailservers.free_port()
        self._haraka = _haraka()
        shutil.copytree(self._haraka.parent.parent / "config", self._folder / "config")  # as ``haraka -i`` does
        (self._folder / "plugins").mkdir()
        settings = {
            "smtp.ini": f"listen=127.0.0.1:{self._port}\n",
            "outbound.ini": "local_mx_ok=true\n",
            "plugins": "everything_onward\n",
            "me": "haraka.example\n",
        }
        for name, text in settings.items():
            (self._folder / "config" / name).write_text(text)
        (self._folder / "plugins" / "everything_onward.js").write_text(HARAKA_PLUGIN.format(host=to[0], port=to[1]))

    def __enter__(self) -> Self:
        with (self._folder / "output").open("wb") as output:
            command = [program("node") or "node", str(self._haraka), "-c", str(self._folder)]
            self._process = processes.spawn(command, stdout=output, stderr=output)
        try:
            wait_until(self._accepts, "Haraka accepts connections", 20)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _accepts(self) -> bool:
        if self._process.poll() is not None:
            raise Missing(f"Haraka ended: {(self._folder / 'output').read_text()[-1000:]}")
        return mailservers.greets(self._port)

    def __exit__(self, *_: object) -> None:
        processes.end(self._process)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    @property
    def root(self) -> int:
        return self._process.pid


class Unpacked:
    """Exim or OpenSMTPD, run from where they were unpacked."""

    def __init__(self, name: str, made: mailservers.MailServer, countable: bool = True) -> None:
        self.name = name
        self.countable = countable
        self._made = made

    def __enter__(self) -> Self:
        self._made.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._made.__exit__(None, None, None)

    @property
    def address(self) -> tuple[str, int]:
        return self._made.address

    @property
    def root(self) -> int:
        return self._made.process.pid


def _haraka() -> Path:
    """The program, got by npm on first use. Raises Missing."""
    node, npm = program("node"), program("npm")
    if node is None or npm is None:
        raise Missing("Haraka: node and npm are missing")
    found = HARAKA / "node_modules" / "Haraka" / "bin" / "haraka"
    if not found.exists():
        print(f"getting Haraka {HARAKA_VERSION} into {HARAKA}", file=sys.stderr, flush=True)
        HARAKA.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(HARAKA), f"Haraka@{HARAKA_VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode or not found.exists():
            shutil.rmtree(HARAKA, ignore_errors=True)
            raise Missing(f"Haraka: npm: {done.stderr.strip()[-300:]}")
    return found


# By the name to ask for it. A server is made right before it runs, and forgotten after.
MAKERS: dict[str, Callable[[Path, tuple[str, int]], Relay]] = {
    "penstock": lambda folder, to: Penstock(folder, to, 1, "Penstock (1 worker)"),
    "workers": lambda folder, to: Penstock(folder, to, os.cpu_count() or 1, "Penstock"),  # one worker a core is the default
    "postfix": Postfix,
    "cache": lambda folder, to: Postfix(folder, to, cache=True),
    "haraka": Haraka,
    "opensmtpd": lambda _, to: Unpacked("OpenSMTPD", mailservers.OpenSmtpd(to)),
    "exim": lambda _, to: Unpacked("Exim", mailservers.Exim(to), countable=False),  # its deliveries outlive what began them
}
