"""What ``[auth]`` becomes: bindings in order, and the mechanisms that all stores can serve."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from penstock import Sink, on
from penstock.app.logins import offered
from penstock.config import load, plugs
from penstock.config.authenticating import AuthTable
from penstock.errors import ConfigError
from penstock.events import Credentials
from penstock.events.binding import Bindings
from penstock.events.plug import Plug
from penstock.sinks.accounts import Account, encoded

HEAD = '[server]\nhostname = "mx.example.com"\n[[listener]]\nname = "mx"\naddress = "127.0.0.1:0"\n'
SCRAM = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1")


class Knows(Sink):
    """A store of certain kinds."""

    def __init__(self, *kinds: str) -> None:
        super().__init__()
        if kinds:
            self.kinds = frozenset(kinds)

    @on(Credentials)
    async def check(self, event: Credentials) -> None: ...


@pytest.mark.parametrize(
    ("stores", "mechanisms"),
    [
        ([], ()),
        ([[]], ("PLAIN", "LOGIN")),
        ([["password", "keys", "secret"]], (*SCRAM, "PLAIN", "LOGIN")),
        ([["password", "keys"], ["password"]], ("PLAIN", "LOGIN")),
        ([["password", "keys"], ["token"]], (*SCRAM, "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")),
        ([["token"]], ("OAUTHBEARER", "XOAUTH2")),
        ([["certificate"]], ("EXTERNAL",)),
    ],
)
def test_what_is_offered_is_what_every_store_can_serve(stores: list[list[str]], mechanisms: tuple[str, ...]) -> None:
    bindings = Bindings([Plug(f"store{number}", Knows(*kinds)) for number, kinds in enumerate(stores)])
    assert offered(AuthTable(), bindings) == mechanisms
    assert offered(AuthTable(mechanisms=["cram-md5", "PLAIN"]), bindings) == (("CRAM-MD5", "PLAIN") if stores else ())


def bound(folder: Path, auth: str) -> Any:
    path = folder / "penstock.toml"
    path.write_text(f"{HEAD}[auth]\n{auth}\n")
    (folder / "users").write_bytes(encoded([Account("alice", "$argon2id$x")]))
    sqlite3.connect(folder / "users.db").close()
    return Bindings(plugs(load(path)))


def test_stores_are_bound_in_their_order(tmp_path: Path) -> None:
    stores = [
        "file:users", "sqlite:users.db", "postgresql://mail@db.example.com/mail", "ldaps://ldap.example.com/ou=people,dc=example,dc=com",
        "pam:penstock", "dovecot:/run/dovecot/auth-client",
    ]  # fmt: skip
    bindings = bound(tmp_path, f"stores = {stores}")
    assert [binding.name.partition(":")[2].partition("-")[0] for binding in bindings.chain(Credentials)] == [
        "file", "sqlite", "postgresql", "ldaps", "pam", "dovecot",
    ]  # fmt: skip
    assert bindings.chain(Credentials)[3].plug.sink.settings.base == "ou=people,dc=example,dc=com"
    assert offered(AuthTable(), bindings) == ("PLAIN", "LOGIN")


@pytest.mark.parametrize(
    "store", ["ldap://ldap.example.com", "postgresql://mail:hunter2@db/mail", "ldap://cn=x:hunter2@h/dc=x", "pam:../x"]
)
def test_a_store_that_cannot_be_is_refused_without_its_password(store: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        bound(tmp_path, f'stores = ["{store}"]')
    assert "auth.stores" in str(error.value)
    assert "hunter2" not in f"{error.value} {error.value.hint}"
