"""PostgreSQL and OpenLDAP of a test's own, for directories that look recipients up; the machine's own are not touched.

    with running_postgres(tmp_path) as postgres:     postgres.dsn, postgres.run("CREATE TABLE ...")
    with running_slapd(tmp_path) as slapd:           slapd.uri, slapd.base, slapd.bind_dn, slapd.password, slapd.add(ldif)

Data lies in a folder of /tmp and not in the given one, because the servers change to users that cannot enter pytest's; the folder given
gets the logs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from .mailservers import free_port
from .needs import needs, program
from .processes import end, spawn
from .waiting import wait_until

SUFFIX = "dc=example,dc=com"

SLAPD = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
maxsize 67108864
suffix "{base}"
rootdn "{bind_dn}"
rootpw {password}
directory {folder}/data
access to * by * read
"""

FIRST = """\
dn: {base}
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people
"""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running PostgreSQL.

    Args:
        port: on 127.0.0.1; ``user`` needs ``password``.
        folder: holds its data and its Unix socket.
    """

    folder: Path
    port: int
    user: str = "penstock"
    password: str = "secret"
    database: str = "penstock"

    @property
    def dsn(self) -> str:
        """The connection URI, by TCP."""
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{self.database}"

    @property
    def socket_folder(self) -> Path:
        """Where its Unix socket is, as ``host`` of a connection."""
        return self.folder

    def run(self, sql: str) -> str:
        """Runs SQL as the user; what was selected, a line a row with ``|`` between."""
        command = [str(_postgres_program("psql")), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.dsn, "-f", "-"]
        return _run(command, sql).strip()


@dataclass(frozen=True, slots=True)
class Slapd:
    """A running slapd.

    Args:
        port: on 127.0.0.1; everybody may read, ``bind_dn`` may write.
    """

    port: int
    base: str = SUFFIX
    bind_dn: str = f"cn=admin,{SUFFIX}"
    password: str = "secret"

    @property
    def uri(self) -> str:
        """For clients."""
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def people(self) -> str:
        """An empty branch for entries."""
        return f"ou=people,{self.base}"

    def add(self, ldif: str) -> None:
        """Adds entries."""
        _run([*self._client("ldapadd"), "-c"], ldif)

    def search(self, rule: str, *attributes: str) -> str:
        """What is found below the base, as LDIF."""
        return _run([*self._client("ldapsearch"), "-LLL", "-b", self.base, rule, *attributes])

    def _client(self, tool: str) -> list[str]:
        return [program(tool) or tool, "-x", "-H", self.uri, "-D", self.bind_dn, "-w", self.password]


@contextlib.contextmanager
def running_postgres(folder: Path) -> Iterator[Postgres]:
    """Runs a PostgreSQL; skips the test when it is not installed."""
    _postgres_program("initdb")
    _postgres_program("postgres")
    with _place("postgres-", "nobody") as place:
        server = Postgres(place, free_port())
        password = place / "password"
        password.write_text(server.password)
        password.chmod(0o644)
        data = place / "data"
        initdb = [str(_postgres_program("initdb")), "-D", str(data), "-U", server.user, "--pwfile", str(password), "-A", "scram-sha-256"]
        _run(_as_nobody([*initdb, "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]))
        options = {"port": server.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": place, "fsync": "off"}
        settings = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        with (folder / "postgres.log").open("wb") as log:
            process = spawn(_as_nobody([str(_postgres_program("postgres")), "-D", str(data), *settings]), stdout=log, stderr=log, cwd=place)
        try:
            ready = [str(_postgres_program("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(server.port)]
            wait_until(lambda: _works(process, folder / "postgres.log", ready), "PostgreSQL accepts connections", 30)
            _run([str(_postgres_program("psql")), "-X", "-q", "-d", _first(server)], f"CREATE DATABASE {server.database}")
            yield server
        finally:
            # SIGINT is its fast shutdown: sessions are ended, children collected.
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            end(process)


def _first(server: Postgres) -> str:
    """The DSN of the database that exists before ours."""
    return server.dsn.removesuffix(server.database) + "postgres"


@contextlib.contextmanager
def running_slapd(folder: Path) -> Iterator[Slapd]:
    """Runs a slapd with an empty branch ``ou=people``; skips the test when it is not installed."""
    needs("slapd", "slapadd", "ldapsearch", "ldapadd")
    with _place("slapd-", "nobody") as place:
        server = Slapd(free_port())
        settings = {"folder": place, "base": server.base, "bind_dn": server.bind_dn, "password": server.password}
        config = place / "slapd.conf"
        config.write_text(SLAPD.format(**settings))
        (place / "data").mkdir()
        _run([program("slapadd") or "", "-f", str(config)], FIRST.format(base=server.base))
        for path in [place, *place.rglob("*")]:
            _give(path, "nobody")
        with (folder / "slapd.log").open("wb") as log:
            # -d 0 keeps it in the foreground.
            command = [program("slapd") or "", "-f", str(config), "-h", server.uri, "-d", "0"]
            process = spawn(_as_nobody(command), stdout=log, stderr=log)
        try:
            ready = [program("ldapsearch") or "", "-x", "-H", server.uri, "-b", server.base, "-s", "base"]
            wait_until(lambda: _works(process, folder / "slapd.log", ready), "slapd accepts connections", 15)
            yield server
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            end(process)


@contextlib.contextmanager
def _place(prefix: str, user: str) -> Iterator[Path]:
    """A folder that belongs to a user."""
    place = Path(tempfile.mkdtemp(prefix=prefix))
    _give(place, user)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _give(path: Path, user: str) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, user)


def _as_nobody(command: Sequence[str]) -> list[str]:
    """PostgreSQL refuses to run as root; neither server needs to."""
    if os.geteuid() != 0:
        return list(command)
    needs("setpriv")
    return [program("setpriv") or "", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]


def _postgres_program(name: str) -> Path:
    """A program of the newest PostgreSQL; Debian has the servers' outside of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1]
    elsewhere = program(name)
    if elsewhere is None:
        pytest.skip(f"{name} is not installed (Debian package: postgresql)")
    return Path(elsewhere)


def _works(process: subprocess.Popen[bytes], log: Path, command: list[str]) -> bool:
    """Whether a client's command succeeds; fails when the server has ended."""
    assert process.poll() is None, log.read_text(errors="replace")
    return subprocess.run(command, check=False, capture_output=True, timeout=10).returncode == 0


def _run(command: Sequence[str], text: str = "") -> str:
    done = subprocess.run(command, input=text, check=False, capture_output=True, text=True, timeout=60, cwd="/")
    assert done.returncode == 0, f"{command[0]}: {done.stderr.strip()}"
    return done.stdout
