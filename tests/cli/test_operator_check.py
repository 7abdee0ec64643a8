"""``penstock check`` finds what a worker would stumble over at its start, and what is allowed but dangerous."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.certificates import certificate

from .command import penstock

CONFIG = """\
[server]
hostname = "mx.example.com"
{server}

[[listener]]
name = "mx"
address = "127.0.0.1:0"

{more}
"""
DOMAIN = '[domain."example.com"]\n'


def _check(folder: Path, more: str, server: str = "") -> tuple[int, str]:
    config = folder / "penstock.toml"
    config.write_text(CONFIG.format(server=server, more=more))
    done = penstock("check", "--config", str(config))
    return done.returncode, done.stderr


def test_a_path_that_is_too_long_for_the_control_socket(tmp_path: Path) -> None:
    """The system allows 107 octets, which a worker would find out by not starting."""
    code, err = _check(tmp_path, DOMAIN, f'control = "{"x" * 120}"')
    assert code == 78
    assert "server.control" in err
    assert "107" in err


def test_texts_of_reports_that_cannot_be_used(tmp_path: Path) -> None:
    """Both a folder that is not there, and a gap that nobody fills."""
    code, err = _check(tmp_path, '[notices]\ntemplates = "texts"')
    assert (code, "notices.templates: there is no folder" in err) == (78, True)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "failed.txt").write_text("Dear $sender,\n")
    code, err = _check(tmp_path, '[notices]\ntemplates = "texts"')
    assert (code, "'sender' is none of the gaps" in err) == (78, True)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[dns]\nservers = ["ns.example"]', "dns: "),
        ("[dns]\ncache = 0", "dns.cache: it is above 0"),
        ('[delivery]\nhostname = "not a name"', "delivery.hostname: "),
        ('[domain."example.com"]\ndeliver = "pipe:/bin/sh -c \'store {local}\'"', "a shell would run what a stranger writes"),
    ],
)
def test_values_that_could_never_work_are_named(tmp_path: Path, more: str, words: str) -> None:
    """With the key, so that the place is found."""
    code, err = _check(tmp_path, more)
    assert code == 78
    assert words in err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[route."a.example"]\nuser = "u"\npassword = "hidden"', "whoever poses as the server gets the password"),
        ('[route."a.example"]\nuser = "u"\npassword = "hidden"\nauth_without_tls = true', "in the clear"),
        ('[domain."a.example"]\nkind = "relay"', 'domain."a.example".recipients: mail to any address'),
    ],
)
def test_what_is_allowed_and_dangerous_is_warned_of(tmp_path: Path, more: str, words: str) -> None:
    """Never with the password itself."""
    code, err = _check(tmp_path, DOMAIN + more)
    assert code == 0
    assert words in err
    assert "hidden" not in err


def test_a_password_that_only_its_server_can_get_is_fine(tmp_path: Path) -> None:
    route = '[route."a.example"]\nnext_hop = "[mail.a.example]:587"\nuser = "u"\npassword = "p"\ntls = "verify"'
    code, err = _check(tmp_path, DOMAIN + route)
    assert (code, err) == (0, "")


def test_a_group_that_there_is_not(tmp_path: Path) -> None:
    """Only a warning: it may be there where the server runs."""
    code, err = _check(tmp_path, DOMAIN, 'submit_group = "no-such-group"')
    assert code == 0
    assert "server.submit_group: there is no group 'no-such-group'" in err


def test_certificates_are_looked_at(tmp_path: Path) -> None:
    """Missing ones and keys of others are errors; an end that is near, and a key that all can read, are warnings."""
    own, other = certificate("mx.example.com"), certificate("other.example")
    tls = '[tls]\ncertificates = [{{ certificate = "{}", key = "{}" }}]\n' + DOMAIN
    code, err = _check(tmp_path, tls.format(own.certificate, tmp_path / "none.key"))
    assert (code, "none.key cannot be read: No such file" in err) == (78, True)
    code, err = _check(tmp_path, tls.format(own.certificate, other.key))
    assert (code, "does not belong to the certificate" in err) == (78, True)
    (tmp_path / "own.key").write_bytes(own.key.read_bytes())
    (tmp_path / "own.key").chmod(0o644)
    code, err = _check(tmp_path, tls.format(own.certificate, tmp_path / "own.key"))
    assert code == 0
    assert f"the certificate in {own.certificate} expires in 1 days" in err
    assert "everybody on this machine can read the key in" in err


def test_a_submission_service_in_clear_is_warned_of(tmp_path: Path) -> None:
    """RFC 8314."""
    listener = '[[listener]]\nname = "submission"\naddress = "127.0.0.1:0"\nservice = "submission"\n'
    code, err = _check(tmp_path, listener + DOMAIN)
    assert code == 0
    assert "listener.submission.tls: with 'none' users may send their mail in clear" in err


@pytest.mark.parametrize(
    ("match", "tls", "warned"),
    [
        ("{ tls = true }", "", "no listener speaks TLS"),
        ('{ tls = true, listener = "mx" }', "none", "no listener speaks TLS"),
        ("{ tls = true }", "offer", ""),
        ("{ tls = false }", "implicit", "speak TLS from the first octet"),
        ("{ tls = false }", "offer", ""),
    ],
)
def test_a_condition_on_tls_that_never_holds_is_warned_of(tmp_path: Path, match: str, tls: str, warned: str) -> None:
    own = certificate("mx.example.com")
    text = CONFIG.format(server="", more=DOMAIN)
    if tls:
        text = text.replace('name = "mx"\n', f'name = "mx"\ntls = "{tls}"\n')
        text += f'[tls]\ncertificates = [{{ certificate = "{own.certificate}", key = "{own.key}" }}]\n'
    text += f'[[binding]]\nname = "x"\nsink = "penstock.sinks.shields_up:ShieldsUp"\nmatch = {match}\n'
    (tmp_path / "penstock.toml").write_text(text)
    done = penstock("check", "--config", str(tmp_path / "penstock.toml"))
    assert done.returncode == 0, done.stderr
    assert (f"binding.x.match.tls: {'the ' if 'speak TLS' in warned else ''}" in done.stderr) is bool(warned)
    assert warned in done.stderr


RELAY = '[domain."office.example"]\nkind = "relay"\nrecipients = ["alice"]\n'
PROVIDER = '[route."[odmr.example.net]:366"]\nuser = "acme"\npassword = "x"\ntls = "verify"\n'


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (RELAY + 'fetched_by = ["acme"]\n', 'domain."office.example".fetched_by: nobody can fetch it: no listener has atrn = true'),
        ('[[listener]]\nname = "odmr"\naddress = "127.0.0.1:0"\natrn = true\n' + DOMAIN, "listener.odmr: nobody can log in"),
        ('[[listener]]\nname = "odmr"\naddress = "127.0.0.1:0"\natrn = true\n' + DOMAIN, "listener.odmr.atrn: there is nothing to fetch"),
    ],
)
def test_mail_that_nobody_could_fetch_is_warned_of(tmp_path: Path, more: str, words: str) -> None:
    code, err = _check(tmp_path, more)
    assert (code, words in err) == (0, True), err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (DOMAIN + 'fetched_by = ["acme"]\n', "mail of a local domain is delivered here"),
        (RELAY + 'fetched_by = ["acme"]\n[route."office.example"]\nnext_hop = "[192.0.2.1]"\n', "sends its mail elsewhere"),
        ('[fetch."odmr.example.net"]\n', "mail is fetched from a host over SMTP"),
        ('[fetch."lmtp:[127.0.0.1]:24"]\n', "mail is fetched from a host over SMTP"),
        ('[fetch."[odmr.example.net]:366"]\n', "a provider wants us to log in"),
        (PROVIDER + '[fetch."[odmr.example.net]:366"]\nlistener = "none"\n', "there is no listener 'none' of service 'smtp'"),
        (PROVIDER + '[fetch."[odmr.example.net]:366"]\nevery = "0s"\n', "it is at least one second"),
        (PROVIDER + '[fetch."[odmr.example.net]:366"]\nevry = "1m"\n', "unknown key 'evry'"),
    ],
)
def test_what_could_never_be_fetched_is_refused(tmp_path: Path, more: str, words: str) -> None:
    code, err = _check(tmp_path, more)
    assert (code, words in err) == (78, True), err
