"""Disks go bad: full, read-only, damaged. Each time the server says what is wrong, and keeps doing what can still be done."""

from __future__ import annotations

import json
import smtplib
import subprocess
from pathlib import Path

import pytest

from support.blockdevice import SmallDisk
from support.messages import Message, MessageMaker
from support.needs import needs, needs_root
from support.server import Server, ServerFailedError
from support.sinks import STALL
from support.waiting import wait_until


def _send(server: Server, message: Message) -> tuple[int, bytes]:
    """Sends one message and gives the reply to its last line."""
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.ehlo("client.example")
        for code, text in (client.mail("load@client.example"), client.rcpt("alice@example.com")):
            if code != 250:
                return code, text
        return client.data(message.content)


def _log_has(server: Server, *words: str) -> bool:
    """Whether some line of the log has all the words."""
    return any(all(word in json.dumps(line).lower() for word in words) for line in server.log())


def _stalled(server: Server, count: int) -> list[Message]:
    """Messages that were accepted and wait in the spool of a server with STALL."""
    maker = MessageMaker(4000)
    messages = [maker.make() for _ in range(count)]
    for message in messages:
        assert _send(server, message)[0] == 250
    return messages


def _place(spool: Path, message: Message) -> tuple[Path, int]:
    """The spool file that holds a message, and a place within the message's body in it."""
    first_line = f"\r\n\r\n{message.token} ".encode()
    for path in sorted(path for path in spool.rglob("*") if path.is_file()):
        at = path.read_bytes().find(first_line)
        if at >= 0:
            return path, at + 1000
    raise AssertionError(f"{message.token} is in no file below {spool}")


@pytest.mark.root
def test_a_full_disk_is_said_to_the_client_and_ends_without_a_restart(tmp_path: Path) -> None:
    """With no room left the answer is 452 4.3.1 and the log says so; when there is room again mail is taken again."""
    needs_root("a small file system")
    needs("mount")
    gate = tmp_path / "gate"
    stall = STALL.format(until=gate)
    maker = MessageMaker(500_000)
    with SmallDisk(tmp_path / "disk", 256) as disk, Server(tmp_path / "server", disk=disk.path, more=stall) as server:
        accepted = [maker.make()]
        assert _send(server, accepted[0])[0] == 250
        ballast = disk.fill()
        code, text = 250, b""
        for _ in range(600):
            message = maker.make()
            code, text = _send(server, message)
            if code != 250:
                break
            accepted.append(message)
        assert (code, text[:5]) == (452, b"4.3.1"), text
        wait_until(lambda: _log_has(server, "full") or _log_has(server, "room") or _log_has(server, "space"), "the log says so")
        ballast.unlink()
        wait_until(lambda: _send(server, message)[0] == 250, "mail is taken again", 20, 0.2)
        accepted.append(message)
        gate.touch()
        server.mailboxes.wait_for({one.token for one in accepted}, 60)
        assert not server.mailboxes.compare({one.token: one.digest for one in accepted}).corrupt


def _fails(server: Server) -> str:
    """Starts a server that must not come up; gives its log."""
    with pytest.raises(ServerFailedError), server:
        pass
    return server.log_text()


def test_a_file_in_place_of_the_spool_is_named_when_the_server_starts(tmp_path: Path) -> None:
    """The server ends at once, with an error that names the path, and no traceback."""
    server = Server(tmp_path)
    server.spool.write_text("not a folder")
    log = _fails(server)
    assert str(server.spool) in log
    assert "Traceback" not in log
    assert server.wait() not in (0, None)


@pytest.mark.root
def test_a_read_only_spool_is_named_when_the_server_starts(tmp_path: Path) -> None:
    """The server ends at once, with an error that names the path, and no traceback."""
    needs_root("a read-only file system")
    needs("mount")
    with SmallDisk(tmp_path / "disk", 8) as disk:
        server = Server(tmp_path / "server", disk=disk.path)
        server.spool.mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(disk.path)], check=True)
        log = _fails(server)
        assert str(server.spool) in log
        assert "Traceback" not in log
        assert server.wait() not in (0, None)


def _after_damage(server: Server, messages: list[Message], damaged: Message) -> None:
    """Starts the server on a spoiled spool without the stall: all but the damaged message is delivered, and that is said."""
    server.configure("")
    server.start()
    rest = {one.token: one.digest for one in messages if one is not damaged}
    server.mailboxes.wait_for(rest, 30)
    found = server.mailboxes.compare(rest)
    assert not found.corrupt
    assert damaged.token not in server.mailboxes.copies
    assert _log_has(server, "damage") or _log_has(server, "aside"), server.log_text()
    assert _send(server, MessageMaker(1000).make())[0] == 250, "a server with damage behind it still takes mail"


def test_a_flipped_bit_in_the_spool_costs_one_message_and_is_reported(tmp_path: Path) -> None:
    """The message with the flipped bit is set aside and named in the log; all others are delivered."""
    with Server(tmp_path, more=STALL.format(until=tmp_path / "never")) as server:
        messages = _stalled(server, 12)
        server.kill()
        path, at = _place(server.spool, messages[5])
        data = bytearray(path.read_bytes())
        data[at] ^= 0x10
        path.write_bytes(data)
        _after_damage(server, messages, messages[5])


def test_a_truncated_spool_file_costs_what_was_cut_off_and_is_reported(tmp_path: Path) -> None:
    """What stood before the cut is delivered, and the log says that something is missing."""
    with Server(tmp_path, more=STALL.format(until=tmp_path / "never")) as server:
        messages = _stalled(server, 12)
        server.kill()
        path, at = _place(server.spool, messages[-1])
        with path.open("r+b") as file:
            file.truncate(at)
        _after_damage(server, messages, messages[-1])
