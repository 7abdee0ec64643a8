"""Every conversation under tests/conversations holds for the machine with a host that accepts everything."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest

from conversations import runner
from wire.driver import Host


class Connection:
    """The machine behind a pretended connection.

    Args:
        step: how many octets are fed at once.
    """

    def __init__(self, step: int) -> None:
        self.host = Host()
        self.step = step
        self.lines: deque[bytes] = deque(self.host.said.splitlines(keepends=True))

    def send(self, data: bytes) -> None:
        for at in range(0, len(data), self.step):
            self.lines.extend(self.host.feed(data[at : at + self.step]).splitlines(keepends=True))

    def receive(self) -> bytes:
        if self.lines:
            return self.lines.popleft()
        assert self.host.machine.is_closed, "the machine has nothing to say and is not closed"
        return b""


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("path", runner.files(), ids=lambda path: path.stem)
def test_a_conversation_goes_as_written(path: Path, step: int) -> None:
    connection = Connection(step)
    runner.play(runner.load(path), connection.send, connection.receive)
    assert not connection.lines, "the server said more than is written"


def test_a_wrong_answer_is_reported_with_file_and_line() -> None:
    connection = Connection(1)
    steps = runner.parse(["S: 220 *", "C: NOOP", "S: 500 *"], "wrong.smtp")
    with pytest.raises(runner.Disagreement, match=r"wrong\.smtp:3: S: 500 \*\n.*250 2\.0\.0 Ok"):
        runner.play(steps, connection.send, connection.receive)


async def test_the_same_files_can_be_played_with_coroutines() -> None:
    connection = Connection(1 << 20)

    async def send(data: bytes) -> None:
        connection.send(data)

    async def receive() -> bytes:
        return connection.receive()

    await runner.play_async(runner.load(runner.FOLDER / "plain.smtp"), send, receive)
    assert connection.host.messages == [b"Subject: hello\r\n\r\nHello, Alice.\r\n.a line that begins with a dot\r\n"]
