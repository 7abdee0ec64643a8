"""A real ``penstock serve`` with a sink in a process of its own: mail goes through it, and whatever becomes of it the server goes on."""

from __future__ import annotations

import os
import signal
import smtplib
from pathlib import Path

import pytest

from isolation.running import alive
from support.server import Server
from support.waiting import wait_until

BINDING = """
[[binding]]
name = "apart"
sink = "isolation.sinks:{sink}"
run_in = "process"
timeout = "2s"
process = {{ memory = "400 MiB" }}
"""


def _sink_processes(worker: int) -> list[int]:
    children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    return [int(pid) for pid in children if b"sink-process" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _send(server: Server, subject: str) -> tuple[int, str]:
    """The server's answer to a message."""
    with smtplib.SMTP(*server.address, timeout=20) as client:
        try:
            client.sendmail("a@example.org", ["bob@example.com"], f"Subject: {subject}\r\n\r\nbody\r\n")
        except smtplib.SMTPDataError as error:
            return error.smtp_code, error.smtp_error.decode()
    return 250, ""


def test_mail_goes_through_a_sink_in_a_process(tmp_path: Path) -> None:
    with Server(tmp_path, more=BINDING.format(sink="Deeds")) as server:
        assert _send(server, "hello") == (250, "")
        # Who is told of the copy is unknown here: the domain is ours, and every mailbox is made.
        line = server.wait_for_log(lambda line: line.get("event") == "submitted", "the handler of Submission ran")
        assert line["binding"] == "apart"
        (process,) = _sink_processes(server.workers[0])
        server.stop()
        assert not alive(process)
        assert any(line["event"] == "stopped here" for line in server.log())


@pytest.mark.parametrize("subject", ["exit", "segfault", "spin", "leak", "garbage", "hang"])
def test_what_it_does_costs_its_message_a_try_and_nobody_else_anything(tmp_path: Path, subject: str) -> None:
    with Server(tmp_path, more=BINDING.format(sink="Misdeeds")) as server:
        worker = server.workers[0]
        code, text = _send(server, subject)
        assert (code, "Temporary failure" in text) == (451, True)
        code, text = wait_until(lambda: (answer := _send(server, "fine"))[0] == 550 and answer, "another process answers", 20)
        assert "process" in text
        assert server.children() == [worker]
        assert any(line.get("event") == "sink failed" and line.get("binding") == "apart" for line in server.log())


def test_it_dies_with_its_worker(tmp_path: Path) -> None:
    with Server(tmp_path, more=BINDING.format(sink="Misdeeds")) as server:
        (process,) = _sink_processes(server.workers[0])
        server.kill_worker()
        wait_until(lambda: not alive(process), "the sink process is gone", 10)
        server.wait_for_workers()
        assert _sink_processes(server.workers[0]) != [process]


def test_signals_of_a_terminal_do_not_end_it(tmp_path: Path) -> None:
    with Server(tmp_path, more=BINDING.format(sink="Misdeeds")) as server:
        (process,) = _sink_processes(server.workers[0])
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            os.kill(process, number)
        code, text = _send(server, "fine")
        assert (code, f"process {process}" in text) == (550, True)


def test_a_sink_that_does_not_start_keeps_the_server_from_starting(tmp_path: Path) -> None:
    server = Server(tmp_path, more=BINDING.format(sink="NeverStarts"))
    with pytest.raises(AssertionError, match="no such directory"):
        server.start(15.0)
