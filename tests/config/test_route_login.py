"""What a route says of logging in: what could never work is refused, and what it means for sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config import load
from penstock.config.outbound import Outbound
from penstock.errors import ConfigError
from penstock.wire.sasl.mechanisms import NAMES

HEAD = """\
[server]
hostname = "mx.example.com"

[[listener]]
name = "mx"
address = "127.0.0.1:0"

[route."a.example"]
"""


def _outbound(tmp_path: Path, lines: str) -> Outbound:
    (tmp_path / "penstock.toml").write_text(HEAD + lines)
    return Outbound(load(tmp_path / "penstock.toml"))


@pytest.mark.parametrize(
    ("lines", "where", "what"),
    [
        ('password = "hidden"', "password", "there is a password and no user"),
        ('token = "hidden"', "token", "there is a token and no user"),
        ('token_file = "t"', "token_file", "there is a token and no user"),
        ('user = "u"', "user", "nothing to log in with"),
        ('user = "u"\ntoken = "hidden"\ntoken_file = "t"', "token", "two places"),
        ('user = "u"\npassword = "hidden"\nmechanisms = ["PLAINE"]', "mechanisms", "no mechanism 'PLAINE'"),
        ('user = "u"\npassword = "hidden"\nmechanisms = ["OAUTHBEARER"]', "user", "nothing to log in with by these"),
        ('user = "u"\ntoken = "hidden"\nmechanisms = ["PLAIN", "LOGIN"]', "user", "nothing to log in with by these"),
        ('mechanisms = ["EXTERNAL"]', "mechanisms", "EXTERNAL is our certificate"),
        ('mechanisms = ["PLAIN"]', "user", "nothing to log in with"),
    ],
)
def test_a_login_that_could_never_work_is_refused(tmp_path: Path, lines: str, where: str, what: str) -> None:
    """With the key, and never with what is secret."""
    with pytest.raises(ConfigError, match=what) as refused:
        _outbound(tmp_path, lines)
    assert refused.value.where.endswith(f'route."a.example".{where}')
    assert "hidden" not in str(refused.value)


def test_a_password_allows_all_mechanisms_but_external(tmp_path: Path) -> None:
    """Which one is used is found out with the server."""
    found = _outbound(tmp_path, 'user = "u"\npassword = "hidden"').hop("mx:a.example").credentials
    assert found is not None
    assert (found.user, found.password, found.mechanisms, found.certificate, found.in_clear) == ("u", "hidden", NAMES, False, False)
    assert "hidden" not in repr(found)


def test_a_token_file_is_taken_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    """It need not be there yet: whatever refreshes it may be slower than our start."""
    found = _outbound(tmp_path, 'user = "u"\ntoken_file = "token"\nmechanisms = ["xoauth2"]').hop("mx:a.example").credentials
    assert found is not None
    assert found.token_file == tmp_path / "token"
    assert found.mechanisms == ("XOAUTH2",)


def test_a_token_is_a_secret_like_any_other(tmp_path: Path) -> None:
    """It may stand in a file that is read once."""
    (tmp_path / "t").write_text("hidden\n")
    found = _outbound(tmp_path, 'user = "u"\ntoken = { file = "t" }').hop("mx:a.example").credentials
    assert found is not None
    assert found.token == "hidden"
    assert "hidden" not in repr(found)


def test_external_needs_no_user(tmp_path: Path) -> None:
    """The certificate says who we are."""
    (tmp_path / "c.pem").touch()
    lines = 'mechanisms = ["EXTERNAL"]\ntls_certificate = "c.pem"'
    found = _outbound(tmp_path, lines).hop("mx:a.example").credentials
    assert found is not None
    assert found.certificate
    assert found.mechanisms == ("EXTERNAL",)
