"""The counting receiver counts right: what the load generator was promised is what it wrote down."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from support.counting import CountingReceiver, Manners
from support.load import BackgroundLoad, Plan


def test_every_acknowledged_message_is_written_down_once(tmp_path: Path) -> None:
    """Twenty sessions at once, and no id is missing, strange or double."""
    with CountingReceiver(tmp_path) as receiver:
        with BackgroundLoad(Plan(20, 2000, total=2000), receiver.address) as load:
            sent = load.wait()
        assert receiver.count().acknowledged == {f"<{token}@client.example>": 1 for token in sent.acknowledged}
    assert len(sent.acknowledged) == 2000


@pytest.mark.parametrize("manners", [Manners(defer=0.1), Manners(shut=0.1), Manners(drop=0.1), Manners(lose=0.1)], ids=str)
def test_what_goes_wrong_by_chance_is_told_apart(tmp_path: Path, manners: Manners) -> None:
    """Refused and lost messages are not written; those taken without a reply are, as such."""
    with CountingReceiver(tmp_path, manners) as receiver:
        with BackgroundLoad(Plan(5, 1000, total=500), receiver.address) as load:
            sent = load.wait()
        count = receiver.count()
    assert set(count.acknowledged) == {f"<{token}@client.example>" for token in sent.acknowledged}
    assert len(sent.refused) + len(sent.unknown) + sent.refusals.total() > 10
    assert set(count.untold) == ({f"<{token}@client.example>" for token in sent.unknown} if manners.drop else set())


def test_a_number_is_preferred_and_dots_end_only_on_their_own_line(tmp_path: Path) -> None:
    """X-Test-Number wins over Message-ID; content byte by byte, pipelined commands behind it, all recipients counted."""
    content = b"Message-ID: <a@b>\r\nx-test-number:  17 \r\n\r\nX-Test-Number: 18\r\n..\r\n.x\r\n.\r\n"
    with CountingReceiver(tmp_path, Manners(delay=0.01)) as receiver, socket.create_connection(receiver.address, 5) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nDATA\r\n" + content + b"QUIT\r\n":
            client.send(bytes([octet]))
        heard = b""
        while data := client.recv(4096):
            heard += data
        assert [line[:4] for line in heard.splitlines()[-3:]] == [b"354 ", b"250 ", b"221 "]
        assert receiver.ids.read_text() == "250 2 17\n"


def test_it_can_be_killed_and_comes_back_on_its_port(tmp_path: Path) -> None:
    """The ids of before stay."""
    with CountingReceiver(tmp_path) as receiver:
        address = receiver.address
        for _ in range(2):
            with BackgroundLoad(Plan(1, 500, total=10), address) as load:
                load.wait()
            receiver.stop()
            receiver.start()
        assert receiver.address == address
        assert receiver.count().copies.total() == 20
