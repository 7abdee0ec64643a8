"""``sendmail -bs``: SMTP on standard input and output, by joining both to the server's first listener."""

from __future__ import annotations

import os
import select
import socket
import sys

from ..admin.protocol import AskStatus, ControlError, StatusRow
from ..config import Config
from .exits import EX_TEMPFAIL, Stop
from .workers import AwayError, Workers

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
CONNECT = 30.0


def join_listener(config: Config) -> int:
    """Passes octets both ways until the server hangs up; the exit code. Raises Stop when it is not running."""
    host, port = _address(config)
    try:
        sock = socket.create_connection((_ANY.get(host, host), port), CONNECT)
    except OSError as error:
        hint = "start it: penstock serve"
        raise Stop(EX_TEMPFAIL, f"sendmail: nobody answers at {host}:{port}: {error.strerror or error}", hint) from None
    with sock:
        sock.settimeout(None)
        return _pass(sock, sys.stdin.fileno(), sys.stdout.fileno())


def _address(config: Config) -> tuple[str, int]:
    """Where the first listener of SMTP is; the server is asked where the configuration leaves the port to the system."""
    first = next((one for one in config.listeners if one.service == "smtp" and not one.address.startswith("unix:")), config.listeners[0])
    if first.address.port:
        return first.address.host, first.address.port
    workers = Workers(config)
    for path in workers.paths():
        try:
            for answer in workers.ask(path, AskStatus()):
                if isinstance(answer, StatusRow) and first.name in answer.listeners:
                    return answer.listeners[first.name]
        except (AwayError, ControlError):
            continue
    raise Stop(EX_TEMPFAIL, "sendmail: the server is not running", "start it: penstock serve")


def _pass(sock: socket.socket, source: int, target: int) -> int:
    """Both directions at once; the end of the input is passed on, and that of the server ends it."""
    inputs: list[int | socket.socket] = [sock, source]
    while True:
        for ready in select.select(inputs, [], [])[0]:
            if ready is sock:
                data = sock.recv(65536)
                if not data:
                    return 0
                while data:
                    data = data[os.write(target, data) :]
            elif data := os.read(source, 65536):
                sock.sendall(data)
            else:
                inputs.remove(source)
                sock.shutdown(socket.SHUT_WR)
