"""The user that the server runs as: found out before anything is done, and become for good.

Root is needed for two things: to open ports below 1024, and to read keys that are nobody else's business. Both are done first. Then all
rights go, in an order that leaves no way back: supplementary groups, group, user, each of them the real, effective and saved one
(setresuid(2)). Since the supervisor itself is that user from then on, no process of a running server is root.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, PenstockError
from ..events.handed import LARGEST, hand_down
from .schema import Config

# More files than that are no keys of a server.
_MOST = 256


@dataclass(frozen=True, slots=True)
class Account:
    """Who the server runs as.

    Args:
        name: of the user, for people.
        uid: of the user.
        gid: of its group.
        groups: all groups that its processes have.
        home: its home folder, for programs that ask.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str = "/"


def account_of(config: Config) -> Account | None:
    """The user that the server is to become; None when it stays who it is.

    Raises: ConfigError for a user or group that there is not, for root, and when this process may become nobody else.
    """
    found = named_account(config)
    if found is None or os.geteuid() == found.uid:
        return None
    if os.geteuid() != 0:
        hint = "start it as root, or as that user, and leave the ports to socket activation or CAP_NET_BIND_SERVICE"
        what = f"the server was started by user {os.geteuid()}, who cannot become {found.name!r}"
        raise ConfigError(f"{config.path}: server.user", what, hint)
    return found


def named_account(config: Config) -> Account | None:
    """The user that the configuration names, if it names one. Raises ConfigError for a user or group that there is not, and for root."""
    table = config.server
    where = f"{config.path}: server.user"
    if not table.user:
        if table.group:
            raise ConfigError(f"{config.path}: server.group", "a group without a user", "name the user, too")
        return None
    found = _known(table.user, where)
    if table.group:
        gid = _group(table.group, f"{config.path}: server.group")
        found = Account(found.name, found.uid, gid, (gid, *(one for one in found.groups if one not in (gid, found.gid))), found.home)
    if table.submit_group:
        # The folder of the control sockets is given to it, which only a member may do.
        found = Account(found.name, found.uid, found.gid, (*found.groups, _submit_group(config)), found.home)
    if found.uid == 0 or 0 in found.groups:
        raise ConfigError(where, "it stands for root, or root's group", "name a user that owns nothing but the server's files")
    return found


def _known(user: str, where: str) -> Account:
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        if user.isdecimal() and int(user) < 2**32 - 1:
            return Account(user, int(user), int(user), (int(user),))
        raise ConfigError(where, f"there is no user {user!r} on this machine", "make one: useradd --system penstock") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)), entry.pw_dir)


def _group(group: str, where: str) -> int:
    try:
        return grp.getgrgid(int(group)).gr_gid if group.isdecimal() else grp.getgrnam(group).gr_gid
    except (KeyError, OverflowError):
        if group.isdecimal() and int(group) < 2**32 - 1:
            return int(group)
        raise ConfigError(where, f"there is no group {group!r} on this machine") from None


def _submit_group(config: Config) -> int:
    return _group(config.server.submit_group, f"{config.path}: server.submit_group")


# --- what is read before ---


def become(account: Account, config: Config) -> dict[str, int]:
    """Makes this process the user's for good; the descriptors of what it can read no more, by path.

    Args:
        account: the user.
        config: the configuration; the keys and secrets that it names are read first.

    Raises: ConfigError when the user cannot read the configuration or run this program; PenstockError when rights cannot be given up.
    """
    before = dict(_contents(config))
    try:
        os.setgroups(account.groups)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    except OSError as error:
        raise PenstockError(f"the server cannot become the user {account.name}: {error.strerror}") from error
    _see_that_there_is_no_way_back(account)
    # Programs that the server runs look here, and would find root's.
    os.environ.update(HOME=account.home, USER=account.name, LOGNAME=account.name)
    _see_that_it_can_work(account, config)
    return hand_down({path: content for path, content in before.items() if not os.access(path, os.R_OK)}, account.uid)


def _see_that_there_is_no_way_back(account: Account) -> None:
    if os.getresuid() != (account.uid,) * 3 or os.getresgid() != (account.gid,) * 3 or not set(os.getgroups()) <= set(account.groups):
        raise PenstockError(f"the server is not the user {account.name} after it became it")
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise PenstockError("the server could become root again")


def _see_that_it_can_work(account: Account, config: Config) -> None:
    if not os.access(config.path, os.R_OK):
        hint = f"each worker reads it again: chgrp {account.gid} {config.path}; chmod 640 {config.path}"
        raise ConfigError(str(config.path), f"the user {account.name} cannot read it", hint)
    if not os.access(sys.executable, os.X_OK):
        what = f"the user {account.name} cannot run {sys.executable}, which its workers are"
        raise ConfigError(f"{config.path}: server.user", what, "install Penstock where all users reach it, such as below /opt")


def _contents(config: Config) -> Iterator[tuple[Path, bytes]]:
    """The files that the configuration names as certificates, keys and secrets, and what is in them; those that there are."""
    tables = (config.tls, config.auth, config.delivery, config.routes, config.listeners)
    for path in sorted({*_paths(tables), *_references(config)})[:_MOST]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            # Whoever needs it says so, in better words.
            continue
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST:
                yield path, file.read(LARGEST)


def _paths(value: object) -> Iterator[Path]:
    """All paths within tables."""
    if isinstance(value, Path):
        yield value
    elif is_dataclass(value):
        for one in fields(value):
            yield from _paths(getattr(value, one.name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item)
    elif isinstance(value, dict):
        yield from _paths(list(value.values()))


def _references(config: Config) -> Iterator[Path]:
    """The files of secrets, wherever the configuration's own file has one: ``{ file = "PATH" }``."""
    try:
        tables = tomllib.loads(config.path.read_text("utf-8"))
    except (OSError, ValueError):
        return
    for name in _named(tables):
        yield config.resolve(name)


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if set(value) == {"file"} and isinstance(value["file"], str):
            yield value["file"]
        for item in value.values():
            yield from _named(item)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item)
