"""Asks the workers of a running server over their control sockets: one question a connection, answers of all merged.

Plain blocking sockets: a command asks, prints and ends. A worker that is just being started again is told of, and the others' answers
are shown all the same.
"""

from __future__ import annotations

import heapq
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

import msgspec

from ..admin.places import check_path, socket_path
from ..admin.protocol import (
    AnyAnswer,
    AnyQuestion,
    ChangeMessages,
    ControlError,
    CountAges,
    Data,
    Done,
    Failed,
    ListMessages,
    MessageRow,
    decode_answer,
    encode,
)
from ..config import Config
from ..config.schema import ServerTable
from ..config.values import located
from .exits import EX_DATAERR, EX_NOPERM, EX_NOUSER, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, Stop, complain

T = TypeVar("T")
# A worker answers each question within a second or so; one that is busy starting sinks may take longer.
TIMEOUT = 60.0
_CONTROL = re.compile(r"""^\s*control\s*=\s*(["'])(.+?)\1""", re.MULTILINE)
_CODES = {"usage": EX_USAGE, "data": EX_DATAERR, "unknown": EX_NOUSER, "later": EX_TEMPFAIL, "denied": EX_NOPERM}


class AwayError(Exception):
    """A worker does not answer."""


class Workers:
    """The workers of a configuration's server.

    ``answered`` and ``missing`` tell after questions to all who did and did not.

    Args:
        config: names the folder of the sockets, and how many workers there are; or the path of one that cannot be read now, whose server
            may run all the same: then there are as many workers as sockets.
    """

    def __init__(self, config: Config | Path) -> None:
        if isinstance(config, Path):
            self._path, self._count, self._folder = config, 0, _control_folder(config)
        else:
            self._path, self._count, self._folder = config.path, config.server.worker_count, config.resolve(config.server.control)
        self.answered: set[Path] = set()
        self.missing: set[Path] = set()

    def paths(self) -> list[Path]:
        """The sockets: those that there should be, and those of a server that was started with more workers."""
        wanted = [socket_path(self._folder, number) for number in range(self._count)]
        if wanted:
            check_path(wanted[-1])
        try:
            more = [path for path in sorted(self._folder.glob("worker-*.sock")) if path not in wanted]
        except OSError:  # who may only hand in mail may not list the folder
            more = []
        return [*wanted, *more]

    def ask(self, path: Path, question: AnyQuestion, content: Iterable[bytes] = (), timeout: float = TIMEOUT) -> Iterator[AnyAnswer]:
        """The lines of one worker's answer, the last of them a Done. Raises AwayError; ControlError; Stop when it may not be asked."""
        with _connected(path, timeout) as (sock, lines):
            try:
                sock.sendall(encode(question))
                for piece in content:
                    sock.sendall(encode(Data(piece)))
            except (BrokenPipeError, ConnectionResetError):
                pass  # it says why, if it is there at all
            while True:
                try:
                    line = lines.readline()
                except OSError as error:
                    raise AwayError(str(error)) from None
                if not line.endswith(b"\n"):
                    raise AwayError("the connection ended")
                answer = decode_answer(line)
                if isinstance(answer, Failed):
                    raise ControlError(answer.kind, answer.what)
                yield answer
                if isinstance(answer, Done):
                    return

    def each(self, question: AnyQuestion) -> Iterator[AnyAnswer]:
        """The answers of all workers, one after the other. Raises Stop when none answers."""
        for path in self.paths():
            yield from self._pages(path, question)
        self.must_be_there()

    def messages(self, question: ListMessages) -> Iterator[MessageRow]:
        """The messages of all workers in order of id, read page by page as they are wanted. Raises Stop when no worker answers."""
        sources = [self._rows(path, question) for path in self.paths()]
        yield from heapq.merge(*sources, key=lambda row: row.queue_id)
        self.must_be_there()

    def must_be_there(self) -> None:
        """Raises Stop when no worker answered; says so when some did not."""
        if not self.answered:
            where = self._path
            raise Stop(
                EX_UNAVAILABLE, f"no server is running: nobody answers in {self._folder}", f"start it: penstock serve --config {where}"
            )
        # One beyond the configured number is left from a server that had more workers.
        expected = {socket_path(self._folder, number) for number in range(self._count)}
        for path in sorted(self.missing & expected):
            complain(EX_TEMPFAIL, f"{path.stem} does not answer, and what it has is not shown", "it may just be starting: ask again")

    @property
    def complete(self) -> bool:
        """Whether all workers that there should be have answered."""
        return len(self.answered - self.missing) >= self._count

    def _rows(self, path: Path, question: ListMessages) -> Iterator[MessageRow]:
        return (answer for answer in self._pages(path, question) if isinstance(answer, MessageRow))

    def _pages(self, path: Path, question: AnyQuestion) -> Iterator[AnyAnswer]:
        """All pages of one worker's answer, without the Done of each but the last."""
        while True:
            cursor = ""
            try:
                for answer in self.ask(path, question):
                    self.answered.add(path)
                    if isinstance(answer, Done) and answer.cursor:
                        cursor = answer.cursor
                    else:
                        yield answer
            except AwayError:
                self.missing.add(path)
                return
            if not cursor or not isinstance(question, ListMessages | ChangeMessages | CountAges):
                return
            question = msgspec.structs.replace(question, cursor=cursor)


@contextmanager
def _connected(path: Path, timeout: float) -> Iterator[tuple[socket.socket, BufferedReader]]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    with closing(sock):
        try:
            sock.connect(str(path))
        except PermissionError:
            hint = "run this as the server's user, or root; for sendmail alone 'server.submit_group' can name a group"
            raise Stop(EX_NOPERM, f"you may not use the control socket {path}", hint) from None
        except OSError as error:
            raise AwayError(str(error)) from None
        with sock.makefile("rb") as lines:
            yield sock, lines


def _control_folder(path: Path) -> Path:
    """Where the sockets of a server are whose configuration is broken: as a line of the file says that can still be read."""
    try:
        found = _CONTROL.search(path.read_text("utf-8", errors="replace"))
    except OSError:
        found = None
    return located(path.absolute().parent, found[2] if found else ServerTable().control)


def told(work: Callable[[], T]) -> T:
    """Does something, and ends the command with the right code when the server refuses it. Raises Stop."""
    try:
        return work()
    except ControlError as error:
        raise Stop(_CODES.get(error.kind, EX_UNAVAILABLE), error.what) from None
    except AwayError as error:
        raise Stop(EX_TEMPFAIL, f"the server does not answer: {error}", "try again in a moment") from None
