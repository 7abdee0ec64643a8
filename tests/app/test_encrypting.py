"""The certificates of a worker: shared by listeners, taken up anew without dropping a session, and warned of before their end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import structlog

from hosts.secured import secured, trusting, upgraded
from penstock.app.encrypting import Encryption, expiry_warnings
from penstock.config import Config, load
from penstock.errors import ConfigError
from penstock.observe.log import get_log
from support.certificates import certificate

TEXT = """
[server]
hostname = "mx.example.com"
[tls]
certificates = [{ certificate = "fullchain.pem", key = "privkey.pem" }]
refresh = "1s"
MORE
[[listener]]
name = "mx"
address = "127.0.0.1:0"
[[listener]]
name = "submission"
address = "127.0.0.1:0"
service = "submission"
[[listener]]
name = "submissions"
address = "127.0.0.1:0"
service = "submissions"
client_certificates = "ask"
client_ca_file = "fullchain.pem"
[[listener]]
name = "clear"
address = "127.0.0.1:0"
tls = "none"
"""


def write(folder: Path, name: str) -> None:
    own = certificate(name)
    (folder / "fullchain.pem").write_bytes(own.certificate.read_bytes())
    (folder / "privkey.pem").write_bytes(own.key.read_bytes())


def configured(folder: Path, name: str = "mx.example.com", more: str = "") -> Config:
    write(folder, name)
    (folder / "penstock.toml").write_text(TEXT.replace("MORE", more))
    return load(folder / "penstock.toml")


def test_each_listener_gets_what_it_asks_for_and_the_same_files_are_read_once(tmp_path: Path) -> None:
    encryption = Encryption(configured(tmp_path))
    mx, submission, submissions, clear = (encryption.serving[name] for name in ("mx", "submission", "submissions", "clear"))
    assert clear is None
    assert mx is not None
    assert submission is not None
    assert submissions is not None
    assert [(one.implicit, one.required) for one in (mx, submission, submissions)] == [(False, False), (False, True), (True, True)]
    assert mx.certificates is submission.certificates
    assert mx.certificates is not submissions.certificates, "other rules, another context"
    assert [path for path, _ in encryption.certificates()] == [str(tmp_path / "fullchain.pem")]


def test_a_certificate_that_cannot_be_used_is_named_with_its_key(tmp_path: Path) -> None:
    config = configured(tmp_path)
    (tmp_path / "privkey.pem").unlink()
    with pytest.raises(ConfigError, match=r"penstock.toml: tls.certificates: the file .*privkey.pem cannot be read: No such file"):
        Encryption(config)


async def test_a_renewed_certificate_is_taken_up_and_sessions_go_on(tmp_path: Path) -> None:
    """A file that changed is served to the next session; the one before keeps talking."""
    encryption = Encryption(configured(tmp_path))
    async with secured(tls=encryption.serving["mx"]) as server:
        old = await upgraded(server)
        await old.say("EHLO old.example")
        write(tmp_path, "new.example.com")
        with structlog.testing.capture_logs() as lines:
            await encryption.refresh(get_log())
            await encryption.refresh(get_log())
        assert [line["event"] for line in lines] == ["certificate taken up"] * 2, "for each set of rules, once"
        assert lines[0]["names"] == ["new.example.com"]
        assert await old.say("NOOP") == "250 2.0.0 Ok"
        new = await upgraded(server, trusting("new.example.com"), "new.example.com")
        assert (await new.say("EHLO new.example")).startswith("250-")


async def test_a_broken_new_file_leaves_the_old_certificate_in_force(tmp_path: Path) -> None:
    encryption = Encryption(configured(tmp_path))
    async with secured(tls=encryption.serving["mx"]) as server:
        (tmp_path / "privkey.pem").write_bytes(certificate("other.example").key.read_bytes())
        with structlog.testing.capture_logs() as lines:
            for _ in range(3):
                await encryption.refresh(get_log())
        assert {line["event"] for line in lines} == {"new certificate cannot be used, the old one stays"}
        assert len(lines) == 2, "for each set of rules one line, however often it is looked at"
        assert "does not belong to" in lines[0]["error"]
        assert (await (await upgraded(server)).say("EHLO x")).startswith("250-")
        write(tmp_path, "new.example.com")
        await encryption.refresh(get_log())
        await upgraded(server, trusting("new.example.com"), "new.example.com")


async def test_the_watch_takes_them_up_by_itself(tmp_path: Path) -> None:
    encryption = Encryption(configured(tmp_path))
    encryption.every = 0.01
    watching = asyncio.create_task(encryption.watch(get_log()))
    write(tmp_path, "new.example.com")
    deadline = time.monotonic() + 5
    while encryption.certificates()[0][1].facts.names != ("new.example.com",):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    watching.cancel()


def test_the_end_of_a_certificate_is_told_before_it_comes(tmp_path: Path) -> None:
    """Those of the tests hold for two days."""
    encryption = Encryption(configured(tmp_path))
    with structlog.testing.capture_logs() as lines:
        encryption.warn(get_log())
        encryption.warn(get_log())
    assert [(line["event"], line["days"], line["log_level"]) for line in lines] == [("certificate expires soon", 1, "warning")]
    own = encryption.certificates()
    expires = own[0][1].facts.expires
    assert expiry_warnings(own, expires + 1, 10) == [f"tls.certificates: the certificate in {tmp_path / 'fullchain.pem'} has expired"]
    assert "does not hold yet" in expiry_warnings(own, expires - 30 * 86400, 10)[0]
    assert expiry_warnings(own, expires - 20, 10) == []
    encryption = Encryption(configured(tmp_path, more='warn_before = "1h"'))
    with structlog.testing.capture_logs() as lines:
        encryption.warn(get_log())
    assert lines == []
