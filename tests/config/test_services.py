"""Services of listeners, Unix sockets and [submission]: what is taken, and what is refused with a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.warnings import warnings
from penstock.config import Config, load
from penstock.config.kept import Kept
from penstock.config.submission import submission_bindings
from penstock.errors import ConfigError

HEAD = '[server]\nhostname = "mx.example.com"\n[domain."example.com"]\ndeliver = "discard:"\n'
MX = '[[listener]]\nname = "mx"\naddress = "127.0.0.1:0"\n'
USERS = '[[listener]]\nname = "users"\naddress = "127.0.0.1:0"\nservice = "submission"\n'


def loaded(folder: Path, text: str) -> Config:
    path = folder / "penstock.toml"
    path.write_text(HEAD + text)
    return load(path)


def socket(address: str, more: str = "", name: str = "lmtp") -> str:
    return f'[[listener]]\nname = "{name}"\naddress = "{address}"\nservice = "lmtp"\n{more}'


def test_a_unix_socket_is_an_absolute_path(tmp_path: Path) -> None:
    (listener,) = loaded(tmp_path, socket("unix:/run/penstock//x/../lmtp")).listeners
    assert (listener.address, listener.address.host, listener.address.port) == ("unix:/run/penstock/lmtp", "unix:/run/penstock/lmtp", 0)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (socket("unix:lmtp"), "absolute path"),
        (socket("unix:/" + "x" * 107), "at most 107 octets"),
        (socket("unix:/run/a") + socket("unix:/run/b/../a", name="other"), "has unix:/run/a already"),
        (socket("unix:/run/a", 'socket_mode = "rw"\n'), "socket_mode: 'rw' is no mode"),
        (socket("unix:/run/a", 'proxy = ["127.0.0.1"]\n'), "none is a balancer's"),
        (socket("127.0.0.1:24", 'socket_group = "mail"\n'), "are for the file of a Unix socket"),
        (MX + '[submission]\ndrop_fields = ["From"]\n', "From cannot be taken out"),
        (MX + '[submission]\ndrop_fields = ["B cc"]\n', "is no name of a header field"),
        (MX + '[submission]\ndomain = "a b"\n', "submission.domain"),
        (MX + '[submission]\ncheck_from = "maybe"\n', "submission.check_from"),
    ],
)
def test_what_could_never_work_is_refused(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, text)
    assert what in str(refused.value)


def test_mail_of_users_is_seen_to_where_there_can_be_users(tmp_path: Path) -> None:
    assert not list(submission_bindings(loaded(tmp_path, MX)))
    ((table, key),) = submission_bindings(loaded(tmp_path, MX + USERS))
    assert (table.name, key) == ("submission", "submission")
    assert table.settings["rights"]["domain"] == "example.com"


def test_with_two_domains_a_name_alone_is_nobodys_address(tmp_path: Path) -> None:
    more = '[domain."example.net"]\ndeliver = "discard:"\n'
    ((table, _),) = submission_bindings(loaded(tmp_path, USERS + more))
    assert table.settings["rights"]["domain"] == ""
    ((table, _),) = submission_bindings(loaded(tmp_path, USERS + more + '[submission]\ndomain = "example.net"\n'))
    assert table.settings["rights"]["domain"] == "example.net"


def test_the_file_of_senders_is_beside_the_configuration(tmp_path: Path) -> None:
    ((table, _),) = submission_bindings(loaded(tmp_path, USERS + '[submission]\nsenders_file = "senders"\n'))
    assert table.settings["rights"]["file"] == str(tmp_path / "senders")


@pytest.mark.parametrize(
    ("more", "what"),
    [("", "there are no [auth] stores"), ('[auth]\nstores = ["file:users"]\n', "that takes TLS, and there is no certificate")],
)
def test_a_listener_at_which_nobody_can_log_in_is_warned_of(tmp_path: Path, more: str, what: str) -> None:
    said = warnings(loaded(tmp_path, USERS + more), (), Kept())
    assert [line for line in said if line.startswith("listener.users: nobody can log in") and what in line]
