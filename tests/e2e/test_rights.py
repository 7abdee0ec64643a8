"""A server that root starts gives its rights up for good, keeps what it needs, and leaves nothing to other users."""

from __future__ import annotations

import contextlib
import os
import signal
import smtplib
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.certificates import certificate
from support.messages import MessageMaker
from support.rights import SOMEBODY, RightsServer, as_root, open_folder
from support.server import Server, ServerFailedError

RECORDS = '[capture]\nenabled = true\nfolder = "{folder}/captures"\n\n[trace]\nsample = "100%"\nrate = 0\nfolder = "{folder}/traces"\n'


@pytest.fixture
def folder() -> Iterator[Path]:
    as_root()
    with open_folder() as made:
        yield made


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _send(server: Server, count: int = 1) -> None:
    maker = MessageMaker(2000)
    messages = [maker.make() for _ in range(count)]
    with smtplib.SMTP(*server.address, timeout=20) as client:
        for message in messages:
            client.sendmail("load@client.example", ["alice@example.com"], message.content)
    server.mailboxes.wait_for({message.token for message in messages})


def test_no_process_of_the_server_is_root_or_can_become_root(folder: Path) -> None:
    """Real, effective, saved and file system ids, groups and capabilities of supervisor and workers are the user's."""
    server, before = RightsServer(folder, workers=2), os.getgroups()
    try:
        # As a root has them that logged in; tests in containers have none.
        os.setgroups([0, 4, 42])
        server.start()
    finally:
        os.setgroups(before)
    with contextlib.closing(server):
        _send(server)
        for pid in (server.supervisor, *server.workers):
            found = _status(pid)
            assert found["Uid"].split() == [str(SOMEBODY)] * 4
            assert found["Gid"].split() == [str(SOMEBODY)] * 4
            assert set(found["Groups"].split()) <= {str(SOMEBODY)}
            for which in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
                assert int(found[which], 16) == 0, which
        assert server.stop() == 0


def test_a_worker_that_dies_comes_back_as_the_same_user_on_the_same_port(folder: Path) -> None:
    """The supervisor, which is root no longer, still has the sockets."""
    with RightsServer(folder) as server:
        server.kill_worker()
        server.wait_for_workers()
        assert _status(server.workers[0])["Uid"].split()[0] == str(SOMEBODY)
        _send(server)


def test_a_number_is_a_user_and_a_group_may_be_named(folder: Path) -> None:
    """``group`` replaces the user's own."""
    with RightsServer(folder, server='group = "8"\n') as server:
        assert _status(server.workers[0])["Gid"].split() == ["8"] * 4
        assert set(_status(server.workers[0])["Groups"].split()) <= {"8"}


def test_the_group_that_may_hand_in_mail_reaches_the_control_sockets(folder: Path) -> None:
    """Though the server's user is no member of it otherwise: only a member may give it the folder."""
    with RightsServer(folder, server='submit_group = "mail"\n') as server:
        assert (folder / "run").stat().st_gid == 8
        assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o710
        (found,) = (path.stat() for path in (folder / "run").glob("*.sock"))
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (SOMEBODY, 8, 0o660)
        _send(server)


def test_a_secret_that_only_root_may_read_is_kept_for_a_worker_that_comes_back(folder: Path) -> None:
    """The file of a route's password is read while the server is root; no copy of it is on the disk, or open to others."""
    secret = folder / "password"
    secret.write_text("s3cret-of-root\n")
    secret.chmod(0o600)
    route = f'[route."[127.0.0.1]:1"]\nuser = "me"\npassword = {{ file = "{secret}" }}\nauth_without_tls = true\n'
    with RightsServer(folder, more=route) as server:
        server.kill_worker()
        server.wait_for_workers()
        server.wait_for_log(lambda line: line["event"] == "worker is back", "the worker is back")
        assert "s3cret-of-root" not in server.log_text()
        line = server.wait_for_log(lambda line: line["event"] == "no longer root", "root was given up")
        assert line["kept"] == [str(secret)]
        for name in Path(f"/proc/{server.workers[0]}/fd").iterdir():
            if "memfd:penstock-handed" in str(name.readlink()):
                found = name.stat()
                assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (SOMEBODY, 0o400)
                break
        else:
            pytest.fail("the worker was handed nothing")
        assert b"PENSTOCK_HANDED" not in Path(f"/proc/{server.supervisor}/environ").read_bytes()
        assert "s3cret-of-root" not in server.command("queue", "destinations")


def test_a_reload_works_after_root_was_given_up(folder: Path) -> None:
    """SIGHUP too, whose process is handed what the workers were."""
    secret = folder / "password"
    secret.write_text("s3cret-of-root\n")
    secret.chmod(0o600)
    route = f'[route."[127.0.0.1]:1"]\nuser = "me"\npassword = {{ file = "{secret}" }}\nauth_without_tls = true\n'
    with RightsServer(folder, more=route) as server:
        os.kill(server.supervisor, signal.SIGHUP)
        server.wait_for_log(lambda line: line["event"] in ("reload done", "reload failed"), "a reload", 30)
        assert not [line for line in server.log() if line["event"] == "reload failed"], server.log_text()[-2000:]
        _send(server)


def test_nothing_that_a_server_makes_is_open_to_others(folder: Path) -> None:
    """Spool, control sockets, captures, traces and mail: neither group nor others may do anything with them."""
    with RightsServer(folder, more=RECORDS.format(folder=folder)) as server:
        _send(server, 3)
        server.command("queue", "list")
        made = [folder / name for name in ("spool", "run", "captures", "traces", "mail")]
        seen = 0
        for top in made:
            assert top.exists(), top
            for path in (top, *top.rglob("*")):
                found = path.lstat()
                assert stat.S_IMODE(found.st_mode) & 0o077 == 0, f"{path}: {stat.filemode(found.st_mode)}"
                assert found.st_uid == SOMEBODY, path
                seen += 1
        assert seen > 15
        assert list((folder / "run").glob("*.sock"))
        assert list((folder / "captures").rglob("*.*"))
        assert list((folder / "traces").rglob("*.jsonl"))


@pytest.mark.parametrize("theirs", ["spool", "spool/worker-0", "spool/worker-0/lock"])
def test_a_spool_of_another_user_is_refused(folder: Path, theirs: str) -> None:
    """In whole or in part; nothing is given away, and the error says what to do."""
    server = RightsServer(folder)
    (folder / "spool" / "worker-0").mkdir(parents=True, mode=0o700)
    (folder / "spool" / "worker-0" / "lock").touch()
    for path in (folder / "spool", folder / "spool" / "worker-0", folder / "spool" / "worker-0" / "lock"):
        os.chown(path, SOMEBODY, SOMEBODY)
    os.chown(folder / theirs, 8, 8)
    with pytest.raises(ServerFailedError, match=r"belongs to the user .*\n?.*chown -R"):
        server.start()
    assert (folder / theirs).stat().st_uid == 8
    server.close()


def test_root_does_not_run_on_a_spool_of_another_user(folder: Path) -> None:
    """A start by hand, without the user in the configuration, would leave files there that the server cannot use."""
    server = RightsServer(folder, user="")
    (folder / "spool").mkdir(mode=0o700)
    os.chown(folder / "spool", SOMEBODY, SOMEBODY)
    with pytest.raises(ServerFailedError, match="belongs to the user"):
        server.start()


def test_a_spool_that_others_may_write_into_is_refused(folder: Path) -> None:
    """Whoever can put files there could put mail there."""
    server = RightsServer(folder)
    (folder / "spool").mkdir()
    (folder / "spool").chmod(0o777)
    os.chown(folder / "spool", SOMEBODY, SOMEBODY)
    with pytest.raises(ServerFailedError, match="others may write"):
        server.start()


def test_a_configuration_that_its_user_cannot_read_is_refused_at_the_start(folder: Path) -> None:
    """Not by the first reload, or the first worker that dies."""
    server = RightsServer(folder)
    server.config.chmod(0o600)
    with pytest.raises(ServerFailedError, match=r"cannot read it[\s\S]*chgrp"):
        server.start()


@pytest.mark.parametrize(
    ("user", "why"),
    [("no-such-user", "there is no user"), ("root", "stands for root"), ("0", "stands for root"), ("-1", "there is no user")],
)
def test_a_user_that_cannot_be_is_refused(folder: Path, user: str, why: str) -> None:
    """Unknown ones, and root under any of its names."""
    server = RightsServer(folder, user=user)
    with pytest.raises(ServerFailedError, match=why):
        server.start()


def test_running_as_root_is_warned_of(folder: Path) -> None:
    """Without ``user`` it works, as in a container, and says so."""
    with RightsServer(folder, user="") as server:
        line = server.wait_for_log(lambda line: line["event"] == "running as root", "a warning")
        assert line["level"] == "warning"


@pytest.mark.parametrize("where", ["key.pem", "private/key.pem"])
def test_a_key_that_only_root_may_read_serves_tls_in_all_workers_that_come(folder: Path, where: str) -> None:
    """In a file, or a folder, that the server's user cannot enter; the certificate is open to all."""
    made = certificate("mx.example.com")
    key, chain = folder / where, folder / "chain.pem"
    key.parent.mkdir(mode=0o700, exist_ok=True)
    key.write_bytes(made.key.read_bytes())
    key.chmod(0o600)
    chain.write_bytes(made.certificate.read_bytes())
    tls = f'[tls]\ncertificates = [{{ certificate = "{chain}", key = "{key}" }}]\n'
    # And for servers that ask who we are.
    tls += f'[route."a.example"]\ntls_certificate = "{chain}"\ntls_key = "{key}"\n'
    with RightsServer(folder, more=tls) as server:
        server.kill_worker()
        server.wait_for_workers()
        context = ssl.create_default_context(cafile=str(chain))
        context.check_hostname = False
        with smtplib.SMTP(*server.address, timeout=20) as client:
            client.starttls(context=context)
            assert client.ehlo("client.example")[0] == 250
        os.kill(server.supervisor, signal.SIGHUP)
        server.wait_for_log(lambda line: line["event"] in ("reload done", "reload failed"), "a reload", 30)
        assert not [line for line in server.log() if line["event"] == "reload failed"], server.log_text()[-2000:]
