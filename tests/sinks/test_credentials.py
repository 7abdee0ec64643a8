"""The stores that ship, asked as the server asks them: right, wrong, unknown, out of order, and away."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import ConfigError
from penstock.sinks.accounts import Account, encoded
from penstock.sinks.client_certificates import ClientCertificates, ClientCertificatesSettings
from penstock.sinks.credentials_dovecot import CredentialsDovecot, CredentialsDovecotSettings
from penstock.sinks.credentials_file import CredentialsFile, CredentialsFileSettings
from penstock.sinks.credentials_ldap import CredentialsLdap, CredentialsLdapSettings
from penstock.sinks.credentials_pam import CredentialsPam, CredentialsPamSettings
from penstock.sinks.credentials_postgresql import CredentialsPostgresql, CredentialsPostgresqlSettings
from penstock.sinks.credentials_sqlite import CredentialsSqlite, CredentialsSqliteSettings
from penstock.sinks.passwords import Passwords
from penstock.testing import SinkTesters
from penstock.verdicts import Authenticated, Defer, Keys, PlainPassword, Reject
from penstock.wire.tls import CertificateFacts, TlsFacts
from support.databases import Postgres, Slapd, running_postgres, running_slapd
from support.dovecot import Dovecot

WRONG = Reject(535, "5.7.8", "Authentication credentials invalid")
AWAY = Defer(454, "4.7.0", "Temporary authentication failure")
ALICE = Authenticated("alice@example.com")
HASH = Passwords("tests").hash("wonderland")
KEYS = [Keys.of("alice@example.com", "wonderland", name, 4096).text() for name in ("SCRAM-SHA-256", "SCRAM-SHA-1")]


def users_file(folder: Path, *accounts: Account) -> Path:
    path = folder / "users"
    path.write_bytes(encoded(accounts))
    path.chmod(0o600)
    return path


async def knows_passwords(sink: Any, sink_tester: SinkTesters, unknown: Any = None) -> None:
    """What each store does that compares passwords."""
    tester = sink_tester(sink)
    assert await tester.credentials("alice@example.com", secret="wonderland") == ALICE
    assert await tester.credentials("alice@example.com", secret="Wonderland") in (WRONG, None)
    assert await tester.credentials("nobody@example.com", secret="wonderland") == unknown
    assert await tester.credentials("alice@example.com", secret="") in (WRONG, None)
    assert await tester.credentials("alice", kind="token", secret="wonderland") is None
    assert await tester.credentials(kind="certificate") is None


# Accounts.


@pytest.mark.parametrize(
    "account",
    [
        Account("alice@example.com", HASH),
        Account("alice@example.com", HASH, KEYS),
        Account("alice@example.com", keys=KEYS),
        Account("alice@example.com", clear="wonderland"),
    ],
    ids=["hash", "hash and keys", "keys", "clear"],
)
async def test_a_file_knows_passwords_by_hash_by_keys_and_in_clear(account: Account, sink_tester: SinkTesters, tmp_path: Path) -> None:
    await knows_passwords(CredentialsFile(CredentialsFileSettings(path=users_file(tmp_path, account))), sink_tester)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS"])
async def test_a_file_gives_out_the_keys_of_the_mechanism(mechanism: str, sink_tester: SinkTesters, tmp_path: Path) -> None:
    tester = sink_tester(CredentialsFile(CredentialsFileSettings(path=users_file(tmp_path, Account("alice@example.com", HASH, KEYS)))))
    keys = await tester.credentials("Alice@Example.COM", kind="keys", mechanism=mechanism)
    assert isinstance(keys, Keys)
    assert keys.mechanism == mechanism.removesuffix("-PLUS")
    assert keys.user == "alice@example.com"
    assert keys.proves("wonderland")
    assert not keys.proves("looking-glass")
    assert await tester.credentials("alice@example.com", kind="secret") is None
    assert await tester.credentials("nobody@example.com", kind="keys") is None


async def test_a_password_in_clear_serves_every_question(sink_tester: SinkTesters, tmp_path: Path) -> None:
    tester = sink_tester(
        CredentialsFile(CredentialsFileSettings(path=users_file(tmp_path, Account("alice@example.com", clear="wonderland"))))
    )
    assert await tester.credentials("alice@example.com", kind="secret") == PlainPassword("alice@example.com", "wonderland")
    keys = await tester.credentials("alice@example.com", kind="keys", mechanism="SCRAM-SHA-1")
    assert isinstance(keys, Keys)
    assert keys.proves("wonderland")


async def test_who_is_disabled_is_refused_whatever_is_right(sink_tester: SinkTesters, tmp_path: Path) -> None:
    account = Account("alice@example.com", HASH, KEYS, "wonderland", disabled=True)
    tester = sink_tester(CredentialsFile(CredentialsFileSettings(path=users_file(tmp_path, account))))
    assert await tester.credentials("alice@example.com", secret="wonderland") == WRONG
    assert await tester.credentials("alice@example.com", kind="keys") == WRONG
    assert await tester.credentials("alice@example.com", kind="secret") == WRONG


async def test_a_hash_that_cannot_be_read_puts_the_login_off(sink_tester: SinkTesters, tmp_path: Path) -> None:
    greedy = "$argon2id$v=19$m=2097152,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA"
    for number, hashed in enumerate(("$argon2id$nonsense", greedy)):
        folder = tmp_path / str(number)
        folder.mkdir()
        tester = sink_tester(CredentialsFile(CredentialsFileSettings(path=users_file(folder, Account("alice@example.com", hashed)))))
        assert await tester.credentials("alice@example.com", secret="wonderland") == AWAY


async def test_a_file_is_read_again_and_a_broken_one_leaves_the_users(sink_tester: SinkTesters, tmp_path: Path) -> None:
    path = users_file(tmp_path, Account("alice@example.com", HASH))
    sink = CredentialsFile(CredentialsFileSettings(path=path))
    tester = sink_tester(sink)
    path.write_text('{"user":"alice@example.com","password":"$argon2id$secret-hash')
    sink.refresh()
    assert await tester.credentials("alice@example.com", secret="wonderland") == ALICE
    users_file(tmp_path)
    sink.refresh()
    assert await tester.credentials("alice@example.com", secret="wonderland") is None


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", '{"user":"a","passwort":"x"}', '{"user":"","password":"$argon2id$x"}',
        '{"user":"a","password":"plain-text-secret"}',
        '{"user":"a","keys":["SCRAM-SHA-256$1:a$b:c"]}', '{"user":"a"}\n{"user":"A"}', '{"user":"a\\nb"}', "\xff\xfe",
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_at_the_start_is_an_error_without_what_is_in_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "users"
    if text:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as error:
        CredentialsFile(CredentialsFileSettings(path=path))
    assert "secret" not in str(error.value)


# Tables.

TABLE = """CREATE TABLE users (name text PRIMARY KEY, password text, scram_sha_256 text, disabled boolean);
INSERT INTO users VALUES ('alice@example.com', '{hash}', '{keys}', false), ('dora@example.com', '{hash}', '{keys}', true);"""


async def test_a_table_of_sqlite(sink_tester: SinkTesters, tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(TABLE.format(hash=HASH, keys=KEYS[0]))
    sink = CredentialsSqlite(CredentialsSqliteSettings(path=path, scram=True))
    await sink.start()
    await knows_passwords(sink, sink_tester)
    tester = sink_tester(sink)
    assert isinstance(await tester.credentials("alice@example.com", kind="keys"), Keys)
    assert await tester.credentials("dora@example.com", secret="wonderland") == WRONG
    path.unlink()
    assert await tester.credentials("alice@example.com", secret="wonderland") == AWAY


async def test_a_query_that_cannot_work_is_found_out_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    sqlite3.connect(path).close()
    with pytest.raises(ConfigError):
        await CredentialsSqlite(CredentialsSqliteSettings(path=path)).start()


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with running_postgres(tmp_path_factory.mktemp("postgres")) as server:
        server.run(TABLE.format(hash=HASH, keys=KEYS[0]))
        yield server


async def test_a_table_of_postgresql(postgres: Postgres, sink_tester: SinkTesters) -> None:
    sink = CredentialsPostgresql(CredentialsPostgresqlSettings(dsn=postgres.dsn, scram=True))
    await knows_passwords(sink, sink_tester)
    tester = sink_tester(sink)
    assert isinstance(await tester.credentials("ALICE@example.com", kind="keys"), Keys)
    assert await tester.credentials("x' OR '1'='1", secret="wonderland") is None
    postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'penstock'")
    assert await tester.credentials("alice@example.com", secret="wonderland") == ALICE
    await sink.stop()


async def test_a_database_that_is_away_puts_the_login_off(sink_tester: SinkTesters) -> None:
    sink = CredentialsPostgresql(CredentialsPostgresqlSettings(dsn="postgresql://x@127.0.0.1:1/x", connect=0.5))
    assert await sink_tester(sink).credentials("alice@example.com", secret="wonderland") == AWAY


# Those who compare passwords themselves.

PEOPLE = """\
dn: uid=alice,{people}
objectClass: inetOrgPerson
uid: alice
mail: alice@example.com
cn: Alice
sn: Liddell
userPassword: wonderland

dn: uid=st*r(x)\\\\,{people}
objectClass: inetOrgPerson
uid: st*r(x)\\
cn: Star
sn: Star
userPassword: wonderland
"""


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with running_slapd(tmp_path_factory.mktemp("slapd")) as server:
        server.add(PEOPLE.format(people=server.people))
        yield server


async def test_ldap_lets_users_bind(slapd: Slapd, sink_tester: SinkTesters) -> None:
    sink = CredentialsLdap(CredentialsLdapSettings(uri=slapd.uri, base=slapd.people))
    await knows_passwords(sink, sink_tester)
    tester = sink_tester(sink)
    assert await tester.credentials("alice@example.com", secret="looking-glass") == WRONG
    assert await tester.credentials("st*r(x)\\", secret="wonderland") == Authenticated("st*r(x)\\")
    # Nothing in a name is a pattern or a filter, and an empty password is not "nobody".
    for name in ("*", "al*", "alice)(uid=*", "alice\\2a"):
        assert await tester.credentials(name, secret="wonderland") is None
    assert await tester.credentials("alice", secret="") is None
    await sink.stop()


async def test_ldap_says_by_which_name_the_user_is_known(slapd: Slapd, sink_tester: SinkTesters) -> None:
    sink = CredentialsLdap(CredentialsLdapSettings(uri=slapd.uri, base=slapd.people, name="mail", bind_dn=slapd.bind_dn, password="secret"))
    assert await sink_tester(sink).credentials("alice", secret="wonderland") == ALICE
    await sink.stop()


@pytest.mark.parametrize(
    "wrong", [{"base": "ou=nowhere,dc=example,dc=com"}, {"uri": "ldap://127.0.0.1:1"}, {"bind_dn": "cn=x", "password": "y"}]
)
async def test_ldap_that_cannot_be_asked_puts_the_login_off(slapd: Slapd, wrong: dict[str, Any], sink_tester: SinkTesters) -> None:
    sink = CredentialsLdap(CredentialsLdapSettings(**{"uri": slapd.uri, "base": slapd.people, **wrong}))
    assert await sink_tester(sink).credentials("alice", secret="wonderland") == AWAY


async def test_dovecot_compares_passwords(sink_tester: SinkTesters) -> None:
    with Dovecot({"alice@example.com": "good"}, password="wonderland") as dovecot:
        sink = CredentialsDovecot(CredentialsDovecotSettings(socket=dovecot.auth_socket))
        await knows_passwords(sink, sink_tester)
    assert await sink_tester(sink).credentials("alice@example.com", secret="wonderland") == AWAY


# What PAM hands over ends with a NUL, and has no line end.
PAM_SCRIPT = """#!/bin/sh
password=$(tr -d '\\0')
[ "$PAM_USER" = alice@example.com ] && [ "$password" = wonderland ]
"""
# By itself a program that ends with 1 is an error of the system to PAM, and not a no.
PAM_SERVICE = """\
auth [success=1 default=ignore] pam_exec.so expose_authtok quiet {script}
auth requisite pam_deny.so
auth required pam_permit.so
account required pam_permit.so
"""


async def test_pam_compares_passwords(sink_tester: SinkTesters) -> None:
    folder = Path(tempfile.mkdtemp(prefix="pam-"))
    try:
        script = folder / "check"
        script.write_text(PAM_SCRIPT)
        script.chmod(0o755)
        (folder / "penstock").write_text(PAM_SERVICE.format(script=script))
        sink = CredentialsPam(CredentialsPamSettings(service="penstock", folder=folder))
        await knows_passwords(sink, sink_tester)
        (folder / "penstock").write_text("auth required pam_permit.so\naccount required pam_deny.so\n")
        assert await sink_tester(sink).credentials("alice@example.com", secret="wonderland") is None
    finally:
        shutil.rmtree(folder)
    with pytest.raises(ValueError, match="service"):
        CredentialsPam(CredentialsPamSettings(service="../shadow"))


# Certificates.

PRINTER = CertificateFacts("CN=printer,O=Example", "CN=ca", ("printer.example.com",), "ab" * 32, "01")


@pytest.mark.parametrize(
    ("users", "names", "user"),
    [
        ({":".join(["AB"] * 32): "printer"}, False, "printer"),
        ({"CN=printer,O=Example": "printer"}, False, "printer"),
        ({"printer.example.com": "printer"}, False, "printer"),
        ({}, True, "printer.example.com"),
        ({"other.example.com": "other"}, False, None),
    ],
)
async def test_a_certificate_stands_for_a_user(users: dict[str, str], names: bool, user: str | None, sink_tester: SinkTesters) -> None:
    tester = sink_tester(ClientCertificates(ClientCertificatesSettings(users=users, names=names)))
    tester.set_session(tls=TlsFacts("TLSv1.3", certificate=PRINTER, verified=True))
    assert await tester.credentials(kind="certificate") == (Authenticated(user) if user else None)
    tester.set_session(tls=TlsFacts("TLSv1.3", certificate=PRINTER, verified=False))
    assert await tester.credentials(kind="certificate") is None
    assert await tester.credentials("alice", secret="x") is None
