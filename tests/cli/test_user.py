"""``penstock user``: the file of users, its passwords, and what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.config import load
from penstock.errors import ConfigError
from penstock.sinks.accounts import read_accounts
from penstock.verdicts import Keys

CONFIG = """
[server]
hostname = "mx.example.com"
[auth]
stores = ["pam:penstock", "file:users"]
[[listener]]
name = "mx"
address = "127.0.0.1:0"
"""


def penstock(folder: Path, *words: str, password: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the command with the file of a folder."""
    command = [sys.executable, "-m", "penstock", "user", *words, "--file", str(folder / "users")]
    return subprocess.run(command, input=f"{password}\n", capture_output=True, text=True, timeout=60, check=False)


def test_a_user_is_added_checked_changed_and_removed(tmp_path: Path) -> None:
    assert penstock(tmp_path, "add", "alice@example.com", password="wonderland").returncode == 0
    assert penstock(tmp_path, "add", "bob", "--keep-clear", password="builder").returncode == 0
    assert (tmp_path / "users").stat().st_mode & 0o777 == 0o600
    assert penstock(tmp_path, "check", "ALICE@example.com", password="wonderland").returncode == 0
    assert penstock(tmp_path, "check", "alice@example.com", password="Wonderland").returncode == 77
    alice, bob = read_accounts(tmp_path / "users").values()
    assert [Keys.parse("x", text).mechanism for text in alice.keys] == ["SCRAM-SHA-256", "SCRAM-SHA-1"]
    assert all(Keys.parse("x", text).proves("wonderland") for text in alice.keys)
    assert (alice.clear, bob.clear) == ("", "builder")
    assert "wonderland" not in (tmp_path / "users").read_text()
    listed = [json.loads(line) for line in penstock(tmp_path, "list", "--json").stdout.splitlines()]
    assert [line["user"] for line in listed] == ["alice@example.com", "bob"]
    assert listed[1]["mechanisms"] == ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"]
    assert penstock(tmp_path, "passwd", "bob", password="other").returncode == 0
    assert penstock(tmp_path, "check", "bob", password="other").returncode == 0
    assert read_accounts(tmp_path / "users")["bob"].clear == ""
    assert penstock(tmp_path, "remove", "bob").returncode == 0
    assert list(read_accounts(tmp_path / "users")) == ["alice@example.com"]


@pytest.mark.parametrize(
    ("words", "password", "code"),
    [
        (["add", "Alice@example.com"], "Zq7", 65),
        (["add", "new"], "", 65),
        (["add", "new"], "x" * 2000, 65),
        (["add", "new"], "tab\tin it", 65),
        (["add", ""], "Zq7", 65),
        (["add", "a\nb"], "Zq7", 65),
        (["passwd", "nobody"], "Zq7", 67),
        (["remove", "nobody"], "", 67),
        (["check", "nobody"], "Zq7", 67),
    ],
)
def test_what_cannot_be_leaves_the_file_as_it_was(words: list[str], password: str, code: int, tmp_path: Path) -> None:
    assert penstock(tmp_path, "add", "alice@example.com", password="wonderland").returncode == 0
    before = (tmp_path / "users").read_bytes()
    done = penstock(tmp_path, *words, password=password)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert not password or password not in done.stdout + done.stderr
    assert (tmp_path / "users").read_bytes() == before


def test_a_broken_file_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "users").write_text('{"user":"alice","password":"$argon2id$secret')
    done = penstock(tmp_path, "add", "bob", password="x")
    assert done.returncode == 78
    assert "users:1" in done.stderr
    assert "secret" not in done.stderr
    assert (tmp_path / "users").read_text().endswith("secret")


def test_the_file_is_that_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "penstock", "user", "add", "alice", "--config", str(tmp_path / "penstock.toml")]
    assert subprocess.run(command, input=b"x\n", capture_output=True, timeout=60, check=False).returncode == 0
    assert list(read_accounts(tmp_path / "users")) == ["alice"]


@pytest.mark.parametrize(
    "auth",
    [
        'stores = ["users"]', 'stores = ["http:users"]', 'stores = ["file:"]', 'mechanisms = ["X-NONE"]', 'delay = "20s"',
        'longest_delay = "5 minutes"', "failures_per_session = 0", "failures_per_user = -1", "window = 0", "waiting = 0",
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_is_refused_with_its_key(auth: str, tmp_path: Path) -> None:
    path = tmp_path / "penstock.toml"
    path.write_text(CONFIG.replace('stores = ["pam:penstock", "file:users"]', auth))
    with pytest.raises(ConfigError) as error:
        load(path)
    assert ": auth." in error.value.where
