"""Greylisting: who writes for the first time is asked to come again; a mail server does, and much that sends spam does not.

"The client is encouraged to try again" after a 4yz reply (RFC 5321 §4.2.1). What is remembered is a triplet: the network of the client, the
sender and the recipient. Of it the file has a digest alone: a row is small however long the addresses are, and nobody learns from the
file who writes to whom. All workers share one SQLite file. Whatever is wrong with it, mail passes, and the log says so: to lose the
file costs a few minutes of greylisting, to depend on it would cost mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

from penstock import Address, Sink, on
from penstock.errors import ConfigError
from penstock.events import RcptTo
from penstock.verdicts import Defer

# RFC 6647 §5: 450 or 451 at RCPT are what greylisting says.
_AGAIN = Defer(450, "4.7.1", "Greylisted, please try again later")
# Seconds that one question may take, the wait for other workers included.
_LONGEST = 2.0
# Seconds without a question after one that failed: a file that somebody keeps locked must not cost every message its wait.
_REST = 5.0
# Seconds between two clean-ups, and between two log lines of one kind.
_SELDOM = 60.0
# Rows that one clean-up takes away of each kind; some milliseconds, in which other workers wait.
_AT_ONCE = 2000
# The last use of what has passed is noted so exactly, in seconds; so most of the mail of a regular correspondent only reads.
_EXACT = 3600.0
# Steps of the virtual machine of SQLite between two looks at the clock; some microseconds.
_STEPS = 10_000
# Octets of the log of changes that are kept on disk once they are in the file.
_LOG_KEPT = 16 * 1024 * 1024

# ``at`` is the first try of a triplet that has not passed, and the last use of one that has. ``tally`` counts rows, since count(*)
# reads all of them: 0 for triplets that wait, 1 for those that have passed, 2 for clients.
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS triplets (key BLOB PRIMARY KEY, passed INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS triplets_by_age ON triplets (passed, at);
CREATE TABLE IF NOT EXISTS clients (network TEXT PRIMARY KEY, passed INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS clients_by_age ON clients (at);
CREATE TABLE IF NOT EXISTS tally (kind INTEGER PRIMARY KEY, rows INTEGER NOT NULL);
INSERT OR IGNORE INTO tally VALUES (0, 0), (1, 0), (2, 0);
CREATE TRIGGER IF NOT EXISTS triplet_came AFTER INSERT ON triplets BEGIN UPDATE tally SET rows = rows + 1 WHERE kind = new.passed; END;
CREATE TRIGGER IF NOT EXISTS triplet_went AFTER DELETE ON triplets BEGIN UPDATE tally SET rows = rows - 1 WHERE kind = old.passed; END;
CREATE TRIGGER IF NOT EXISTS triplet_passed AFTER UPDATE OF passed ON triplets WHEN old.passed <> new.passed BEGIN
    UPDATE tally SET rows = rows - 1 WHERE kind = old.passed;
    UPDATE tally SET rows = rows + 1 WHERE kind = new.passed;
END;
CREATE TRIGGER IF NOT EXISTS client_came AFTER INSERT ON clients BEGIN UPDATE tally SET rows = rows + 1 WHERE kind = 2; END;
CREATE TRIGGER IF NOT EXISTS client_went AFTER DELETE ON clients BEGIN UPDATE tally SET rows = rows - 1 WHERE kind = 2; END;
COMMIT;
"""

# draft-levine-smtp-batv: "prvs=" tag "=" address; the tag is a digit, three of a day, and six hexadecimal ones. Some write the tag last.
_BATV = re.compile(r"prvs=(?:[0-9]{4}[0-9a-f]{6}=(.+)|(.+)=[0-9]{4}[0-9a-f]{6})")
_BARRACUDA = re.compile(r"btv1==[^=]+==(.+)")
# SRS: a hash and a day, then whom it was before; of an address that was forwarded twice the last forwarder comes first.
_SRS = re.compile(r"srs(?:0[=+-]|1[=+-][^=]+=[^=]+==?)[^=]+=[^=]+=([^=]+)=(.+)")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WORD = re.compile(r"[^\W_]+")
_HEX = re.compile(r"[0-9a-f]{6,}")
_DIGITS = re.compile(r"[0-9]+")
# A word with a digit is a number in letters from so many characters on.
_TOKEN = 16


@dataclass(frozen=True, slots=True)
class GreylistSettings:
    """How long, how many, and where.

    Args:
        database: an SQLite file, made when it is missing; all workers share it, so it is on a disk of this machine.
        wait: seconds before a further try is let in.
        window: seconds within which that try has to come; later, it is a first one again.
        keep: seconds for which who has passed is remembered after the last use.
        clients: after so many messages that were sent again, a client network waits no more; 0 for never.
        most: rows of triplets; when there are more, the oldest that never passed are forgotten.
        exempt: addresses and networks of clients that need not wait, e.g. one's own, and large senders who come from many networks.
    """

    database: Path
    wait: float = 300.0
    window: float = 2 * 86400.0
    keep: float = 35 * 86400.0
    clients: int = 5
    most: int = 1_000_000
    exempt: list[str] = field(default_factory=list)


class _Step(Enum):
    """What is to be done about a triplet; for the first two, nothing has to be written."""

    PASS = auto()
    WAIT = auto()
    BEGIN = auto()
    ADMIT = auto()
    USED = auto()
    CLIENT_USED = auto()


@dataclass(frozen=True, slots=True)
class _Triplet:
    """Who writes to whom, when.

    Args:
        network: of the client.
        key: a digest of network, sender and recipient.
        now: the time, in seconds since 1970.
    """

    network: str
    key: bytes
    now: float


class Greylist(Sink[GreylistSettings]):
    """Lets a recipient wait until the client comes again; not who has logged in, nor mail for a postmaster.

    Raises: ValueError for times and numbers that nothing could pass with, and for a network that is none.
    """

    def __init__(self, settings: GreylistSettings) -> None:
        super().__init__(settings)
        if not 0 <= settings.wait < settings.window:
            raise ValueError("wait: a number of seconds that is less than window")
        if not settings.keep > 0:
            raise ValueError("keep: a number of seconds above 0")
        if settings.clients < 0 or settings.most < 1:
            raise ValueError("clients: 0 or more; most: 1 or more")
        self._exempt = [ip_network(text, strict=False) for text in settings.exempt]
        self._exact = min(_EXACT, settings.keep / 100)
        self._file = _File(settings.database)
        self._failed = self._cleaned = float("-inf")
        self._said: dict[str, float] = {}

    async def start(self) -> None:
        """Tries the database. Raises ConfigError when there is no folder for it; what else is wrong with it is said in the log."""
        folder = self.settings.database.absolute().parent
        if not await asyncio.to_thread(folder.is_dir):
            raise ConfigError(str(self.settings.database), f"there is no folder {folder}")
        try:
            await asyncio.to_thread(self._try_out)
        except (sqlite3.Error, OSError) as error:
            self._say_broken(error, time.time())

    async def stop(self) -> None:
        """Closes the database."""
        await asyncio.to_thread(self._file.close)

    @on(RcptTo)
    def check(self, event: RcptTo) -> Defer | None:
        """Waits for the disk, so it is a plain ``def`` and runs in a thread. The clock is the server's: when the message began."""
        session, message, recipient = event.session, event.message, event.recipient.address
        network = "" if session.user or recipient.is_postmaster else network_of(session.client_ip, self._exempt)
        if not network:
            return None
        text = f"{network}\n{one_of_all(message.sender)}\n{str(recipient).lower()}"
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        triplet = _Triplet(network, key, message.received.timestamp())
        if abs(triplet.now - self._failed) < _REST:
            return None
        try:
            with self._file.opened() as database:
                return self._ask(database, triplet)
        except (sqlite3.Error, OSError) as error:
            self._failed = triplet.now
            self._say_broken(error, triplet.now)
            return None

    def _try_out(self) -> None:
        with self._file.opened() as database:
            database.execute("SELECT kind, rows FROM tally").fetchall()

    def _ask(self, database: sqlite3.Connection, triplet: _Triplet) -> Defer | None:
        step = self._look(database, triplet)
        clean = abs(triplet.now - self._cleaned) >= _SELDOM
        if clean or step not in (_Step.PASS, _Step.WAIT):
            # IMMEDIATE: a transaction that begins to write after it has read fails when another worker has written in between.
            database.execute("BEGIN IMMEDIATE")
            step = self._look(database, triplet)
            self._note(database, triplet, step)
            if clean:
                self._cleaned = triplet.now
                self._clean(database, triplet.now)
            if step is _Step.BEGIN:
                self._shorten(database, triplet.now)
            database.execute("COMMIT")
        return _AGAIN if step in (_Step.WAIT, _Step.BEGIN) else None

    def _look(self, database: sqlite3.Connection, triplet: _Triplet) -> _Step:
        """What the rows say; a time that is yet to come is one of a clock that was wrong."""
        settings, now = self.settings, triplet.now
        if settings.clients:
            row = database.execute("SELECT passed, at FROM clients WHERE network = ?", (triplet.network,)).fetchone()
            if row and row[0] >= settings.clients and now - row[1] <= settings.keep:
                return _Step.PASS if abs(now - row[1]) <= self._exact else _Step.CLIENT_USED
        row = database.execute("SELECT passed, at FROM triplets WHERE key = ?", (triplet.key,)).fetchone()
        if not row:
            return _Step.BEGIN
        passed, age = row[0], now - row[1]
        if passed:
            return _Step.BEGIN if age > settings.keep else _Step.PASS if abs(age) <= self._exact else _Step.USED
        if age < 0 or age > settings.window:
            return _Step.BEGIN
        return _Step.WAIT if age < settings.wait else _Step.ADMIT

    def _note(self, database: sqlite3.Connection, triplet: _Triplet, step: _Step) -> None:
        key, network, now = triplet.key, triplet.network, triplet.now
        if step is _Step.BEGIN:
            database.execute(
                "INSERT INTO triplets VALUES (?, 0, ?) ON CONFLICT (key) DO UPDATE SET passed = 0, at = excluded.at", (key, now)
            )
        elif step in (_Step.ADMIT, _Step.USED):
            database.execute("UPDATE triplets SET passed = 1, at = ? WHERE key = ?", (now, key))
        if step is _Step.CLIENT_USED:
            database.execute("UPDATE clients SET at = ? WHERE network = ?", (now, network))
        elif step is _Step.ADMIT and self.settings.clients:
            # Messages count, not their recipients: one that was sent again to five is no habit.
            database.execute(
                "INSERT INTO clients VALUES (:network, 1, :now) ON CONFLICT (network) DO UPDATE SET at = :now,"
                " passed = CASE WHEN at < :gone THEN 1 WHEN at = :now THEN passed ELSE passed + 1 END",
                {"network": network, "now": now, "gone": now - self.settings.keep},
            )

    def _clean(self, database: sqlite3.Connection, now: float) -> None:
        """Forgets what nobody will ask for; the rest of it next time."""
        settings = self.settings
        for passed, oldest in ((0, now - settings.window), (1, now - settings.keep)):
            database.execute(
                "DELETE FROM triplets WHERE key IN (SELECT key FROM triplets WHERE passed = ? AND at < ? ORDER BY at LIMIT ?)",
                (passed, oldest, _AT_ONCE),
            )
        database.execute(
            "DELETE FROM clients WHERE network IN (SELECT network FROM clients WHERE at < ? ORDER BY at LIMIT ?)",
            (now - settings.keep, _AT_ONCE),
        )

    def _shorten(self, database: sqlite3.Connection, now: float) -> None:
        """Keeps the file small. A tenth is left to those who wait: if all rows were of who has passed, no one new ever would."""
        most = self.settings.most
        rows = dict(database.execute("SELECT kind, rows FROM tally").fetchall())
        over, clients = min(rows[0] + rows[1] - most, _AT_ONCE), min(rows[2] - most, _AT_ONCE)
        if clients > 0:
            database.execute("DELETE FROM clients WHERE network IN (SELECT network FROM clients ORDER BY at LIMIT ?)", (clients,))
        if over <= 0:
            return
        waiting = min(over, max(0, rows[0] - max(1, most // 10)))
        (oldest,) = database.execute("SELECT min(at) FROM triplets WHERE passed = 0").fetchone()
        for passed, number in ((0, waiting), (1, over - waiting)):
            database.execute(
                "DELETE FROM triplets WHERE key IN (SELECT key FROM triplets WHERE passed = ? ORDER BY at LIMIT ?)", (passed, number)
            )
        if waiting and now - oldest < self.settings.window and self._is_time("full", now):
            self.log.warning("greylist is full", path=str(self.settings.database), rows=most, seconds=round(now - oldest))

    def _say_broken(self, error: Exception, now: float) -> None:
        if self._is_time("broken", now):
            self.log.error("greylist cannot be used", path=str(self.settings.database), error=str(error) or type(error).__name__)

    def _is_time(self, kind: str, now: float) -> bool:
        """Whether a line of this kind was not written for a while."""
        if abs(now - self._said.get(kind, float("-inf"))) < _SELDOM:
            return False
        self._said[kind] = now
        return True


class _File:
    """The database, with one connection for all threads of a worker: SQLite lets one write at a time anyway.

    Args:
        path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._end = 0.0

    @contextlib.contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone; after an error it is closed, and what was begun is undone.

        Raises: sqlite3.Error, OSError.
        """
        if not self._lock.acquire(timeout=_LONGEST):
            raise TimeoutError("other threads of this worker wait for it")
        try:
            self._end = time.monotonic() + _LONGEST
            yield self._current()
        except BaseException:
            self._forget()
            raise
        finally:
            self._lock.release()

    def close(self) -> None:
        """Closes it; the next question would open it again."""
        with self._lock:
            self._forget()

    def _current(self) -> sqlite3.Connection:
        """The connection to the file that is there now: one that was replaced or removed would be written to unseen."""
        if self._connection is not None and self._seen() != self._identity:
            self._forget()
        if self._connection is None:
            # SQLite makes its other files with the permissions of this one. An existing one is not opened here: to close it would
            # end the locks of every other connection of this process.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            self._identity = self._seen()
            self._connection = sqlite3.connect(self._path, timeout=_LONGEST, isolation_level=None, check_same_thread=False)
            self._prepare(self._connection)
        return self._connection

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.set_progress_handler(lambda: time.monotonic() > self._end, _STEPS)
        while database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                database.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                # This one does not wait for another worker that does the same.
                if time.monotonic() > self._end:
                    raise
                time.sleep(0.01)
        # What the last moments before a power cut brought may be gone; the file is whole.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA journal_size_limit = {_LOG_KEPT}")
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'client_went'").fetchone():
            database.executescript(_SCHEMA)

    def _seen(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return (0, 0)
        return found.st_dev, found.st_ino

    def _forget(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def network_of(client_ip: str, exempt: Iterable[IPv4Network | IPv6Network] = ()) -> str:
    """The /24 or the /64 of a client, as large senders try again from another address of it; "" for what is no address, or exempt."""
    try:
        address = ip_address(client_ip.partition("%")[0])
    except ValueError:
        return ""
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in exempt):
        return ""
    return str(ip_network((int(address), 24 if address.version == 4 else 64), strict=False))


def one_of_all(sender: Address) -> str:
    """What stays of a sender who writes as somebody else each time: without tags, details, numbers and the recipient.

    Knows BATV ("prvs="), SRS, VERP ("bounces-bob=example.com") and plain numbers; "" for the null sender.
    """
    local = sender.local.lower()
    signed = _BATV.fullmatch(local) or _BARRACUDA.fullmatch(local)
    if signed:
        local = signed[signed.lastindex or 0]
    forwarded = _SRS.fullmatch(local)
    local = f"{_plain(forwarded[2])}={forwarded[1]}" if forwarded else _plain(local)
    return f"{local}@{_DIGITS.sub('#', sender.domain)}" if local or sender.domain else ""


def _plain(local: str) -> str:
    plus = local.find("+")
    if plus > 0:
        local = local[:plus]
    head, equals, tail = local.rpartition("=")
    if equals and "." in tail:
        local = head[: max(head.rfind(mark) for mark in "-=.") + 1] + "="
    return _WORD.sub(lambda word: _number(word[0]), _UUID.sub("#", local))


def _number(word: str) -> str:
    """A word with its digits as "#"; one that is a number in letters as a whole."""
    if _DIGITS.search(word) and (len(word) >= _TOKEN or _HEX.fullmatch(word)):
        return "#"
    return _DIGITS.sub("#", word)
