"""PostgreSQL and slapd serve while a test needs them, and leave no process behind."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from support.databases import running_postgres, running_slapd

PERSON = """\
dn: cn=Alice,{people}
objectClass: inetOrgPerson
cn: Alice
sn: Example
mail: alice@example.com
"""


def _refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_postgres_serves_and_stops(tmp_path: Path) -> None:
    """A table is written and read with the password, and nobody gets in without; afterwards nothing listens."""
    with running_postgres(tmp_path) as postgres:
        postgres.run("CREATE TABLE alias (name text, target text); INSERT INTO alias VALUES ('sales', 'alice@example.com')")
        assert postgres.run("SELECT * FROM alias") == "sales|alice@example.com"
        with pytest.raises(AssertionError, match="password authentication failed"):
            type(postgres)(postgres.folder, postgres.port, password="wrong").run("SELECT 1")
    assert _refused(postgres.port)
    assert not postgres.folder.exists()


def test_slapd_serves_and_stops(tmp_path: Path) -> None:
    """An entry is added by the administrator and found; a wrong password writes nothing; afterwards nothing listens."""
    with running_slapd(tmp_path) as slapd:
        slapd.add(PERSON.format(people=slapd.people))
        assert "cn: Alice" in slapd.search("(mail=alice@example.com)", "cn")
        assert slapd.search("(mail=bob@example.com)") == ""
        with pytest.raises(AssertionError, match="Invalid credentials"):
            type(slapd)(slapd.port, password="wrong").add(PERSON.format(people=slapd.people))
    assert _refused(slapd.port)
