"""What root read for a server that is root no longer: kept in memory, sealed, for one user, and told to nobody else."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.events import handed
from penstock.events.secret import Secret


@pytest.fixture(autouse=True)
def nothing_handed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that was handed nothing, before and after."""
    monkeypatch.delenv(handed.VARIABLE, raising=False)
    handed.handed.cache_clear()
    yield
    os.environ.pop(handed.VARIABLE, None)
    handed.handed.cache_clear()


def _kept(tmp_path: Path, content: bytes = b"a key") -> tuple[Path, int]:
    path = tmp_path / "key"
    made = handed.hand_down({path: content}, os.geteuid())
    return path, made[str(path)]


def test_what_is_kept_cannot_be_changed_and_is_its_users_alone(tmp_path: Path) -> None:
    """Sealed, mode 0400, and not inherited by whatever is started."""
    _, descriptor = _kept(tmp_path)
    assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o400
    assert not os.get_inheritable(descriptor)
    assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
    with pytest.raises(PermissionError):
        os.write(descriptor, b"another")
    os.close(descriptor)


def test_the_file_itself_goes_before_what_is_kept(tmp_path: Path) -> None:
    """So that a renewed key that can be read is taken up."""
    path, descriptor = _kept(tmp_path, b"old")
    handed.take_up({str(path): descriptor})
    path.write_bytes(b"new")
    assert handed.read(path) == b"new"
    assert handed.openable(path) == path
    os.close(descriptor)


def test_where_it_cannot_be_read_what_is_kept_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its octets, by a name, and as a secret; a second time, too."""
    path, descriptor = _kept(tmp_path)
    handed.take_up({str(path): descriptor})

    def refused(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    monkeypatch.setattr(os, "access", lambda *_: False)
    for _ in range(2):
        assert handed.read(path) == b"a key"
        assert handed.openable(path).open("rb").read() == b"a key"
        assert Secret.parse({"file": str(path)}) == "a key"
    assert handed.is_there(path)
    with pytest.raises(PermissionError):
        handed.read(tmp_path / "other")
    os.close(descriptor)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": "x"}', '{"a": 99999}', "null", '{"a": null}'])
def test_a_variable_that_is_wrong_hands_down_nothing(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is gone, whatever it was: no child of ours hears of it."""
    monkeypatch.setenv(handed.VARIABLE, text)
    assert handed.handed() == {}
    assert handed.VARIABLE not in os.environ


def test_it_is_announced_to_a_child_alone(tmp_path: Path) -> None:
    """The variable is for the environment that a child is given, and not for ours."""
    path, descriptor = _kept(tmp_path)
    handed.take_up({str(path): descriptor})
    assert handed.VARIABLE not in os.environ
    assert handed.announce({str(path): descriptor}) == {handed.VARIABLE: f'{{"{path}": {descriptor}}}'}
    assert handed.announce({}) == {}
    os.close(descriptor)
