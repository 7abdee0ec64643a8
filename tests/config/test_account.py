"""The user that a configuration names: who that is, and when it cannot be."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from penstock.config import Config, load
from penstock.config.account import account_of, named_account
from penstock.config.folders import check_owner, make_folders
from penstock.errors import ConfigError

LISTENER = '[[listener]]\nname = "mx"\naddress = "127.0.0.1:0"\n'


def _load(folder: Path, keys: str) -> Config:
    path = folder / "penstock.toml"
    path.write_text(f'[server]\nhostname = "mx.example.com"\n{keys}\n{LISTENER}')
    return load(path)


def test_a_user_has_the_groups_of_the_system(tmp_path: Path) -> None:
    """And the home that programs look for."""
    entry = pwd.getpwnam("mail")
    found = named_account(_load(tmp_path, 'user = "mail"'))
    assert found is not None
    assert (found.name, found.uid, found.gid, found.home) == ("mail", entry.pw_uid, entry.pw_gid, entry.pw_dir)
    assert set(found.groups) == set(os.getgrouplist("mail", entry.pw_gid))


def test_a_group_takes_the_place_of_the_users_own(tmp_path: Path) -> None:
    """Which it has no more, unless it is a member of that, too."""
    found = named_account(_load(tmp_path, 'user = "mail"\ngroup = "nogroup"'))
    assert found is not None
    assert found.gid == 65534
    assert pwd.getpwnam("mail").pw_gid not in found.groups


def test_a_number_needs_no_name(tmp_path: Path) -> None:
    """As in containers, where nobody has one."""
    found = named_account(_load(tmp_path, 'user = "4242424"\ngroup = "4343434"'))
    assert found is not None
    assert (found.uid, found.gid, found.groups) == (4242424, 4343434, (4343434,))


def test_the_group_that_may_hand_in_mail_comes_along(tmp_path: Path) -> None:
    """The folder of the control sockets is given to it, which only a member may do."""
    found = named_account(_load(tmp_path, 'user = "4242424"\nsubmit_group = "mail"'))
    assert found is not None
    assert set(found.groups) == {4242424, pwd.getpwnam("mail").pw_gid}


@pytest.mark.parametrize(
    ("keys", "key", "what"),
    [
        ('user = "no-such-user"', "user", "there is no user"),
        ('user = "4294967295"', "user", "there is no user"),
        ('user = "99999999999999999999999"', "user", "there is no user"),
        ('user = "root"', "user", "root"),
        ('user = "0"', "user", "root"),
        ('user = "mail"\ngroup = "root"', "user", "root's group"),
        ('user = "mail"\ngroup = "no-such-group"', "group", "there is no group"),
        ('group = "mail"', "group", "without a user"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, keys: str, key: str, what: str) -> None:
    """4294967295 is -1, which setresuid(2) takes for "leave it as it is"."""
    with pytest.raises(ConfigError, match=what) as refused:
        named_account(_load(tmp_path, keys))
    assert refused.value.where.endswith(f"server.{key}")


def test_who_is_that_user_already_becomes_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And who is another, and not root, cannot."""
    config = _load(tmp_path, 'user = "4242424"')
    monkeypatch.setattr(os, "geteuid", lambda: 4242424)
    assert account_of(config) is None
    monkeypatch.setattr(os, "geteuid", lambda: 4242425)
    with pytest.raises(ConfigError, match="cannot become"):
        account_of(config)
    assert account_of(_load(tmp_path, "")) is None


def test_folders_are_made_for_the_user_and_what_is_above_them_is_not(tmp_path: Path) -> None:
    """Whoever could write above could put another folder in the place of one."""
    if os.geteuid() != 0:
        pytest.skip("only root can make folders for others")
    config = _load(tmp_path, 'user = "4242424"\nspool = "var/lib/spool"\ncontrol = "run/penstock"')
    account = named_account(config)
    assert account is not None
    before = os.umask(0o077)
    os.umask(before)
    make_folders(config, account)
    assert os.umask(before) == before
    for path, owner, mode in (
        ("var/lib/spool", 4242424, 0o700),
        ("run/penstock", 4242424, 0o700),
        ("var/lib", 0, 0o755),
        ("run", 0, 0o755),
    ):
        found = (tmp_path / path).stat()
        assert (found.st_uid, found.st_mode & 0o777) == (owner, mode), path
    check_owner(config, 4242424)
    with pytest.raises(ConfigError, match="belongs to the user 4242424, and the server runs as root"):
        check_owner(config, 0)


def test_a_link_in_the_place_of_a_folder_gets_no_new_owner(tmp_path: Path) -> None:
    """Nor what it leads to."""
    if os.geteuid() != 0:
        pytest.skip("only root can make folders for others")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "spool").symlink_to(tmp_path / "elsewhere")
    config = _load(tmp_path, 'user = "4242424"\nspool = "spool"')
    account = named_account(config)
    assert account is not None
    make_folders(config, account)
    assert (tmp_path / "elsewhere").stat().st_uid == 0
    with pytest.raises(ConfigError, match="belongs to the user root"):
        check_owner(config, 4242424)
