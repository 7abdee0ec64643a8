"""The virus scan, with a server that speaks clamd's protocol, and with clamd itself where there is one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from examples.virus_scan import VirusScan

from penstock.testing import SinkTester, SinkTesters
from penstock.verdicts import Defer, Quarantine, Reject
from support.processes import end, spawn
from support.waiting import wait_until

# In two pieces, so that nobody who scans this file finds it.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + rb"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


def infected() -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    message["From"], message["Subject"] = "mallory@client.example", "invoice"
    message.set_content("See attached.\r\n")
    message.add_attachment(EICAR, maintype="application", subtype="octet-stream", filename="invoice.com")
    message.add_attachment(b"harmless", maintype="application", subtype="octet-stream", filename="notes.bin")
    return message


@asynccontextmanager
async def clamd(answer: bytes = b"", silent: bool = False) -> AsyncIterator[asyncio.Server]:
    """A server on a free port that finds EICAR, also in base64, or always gives this answer, or none."""
    stopped = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
            data = b""
            while size := int.from_bytes(await reader.readexactly(4), "big"):
                data += await reader.readexactly(size)
            if silent:
                await stopped.wait()
            found = EICAR in data or _base64_of_eicar() in data.replace(b"\r\n", b"")
            writer.write(answer or (b"stream: Eicar-Test-Signature FOUND\0" if found else b"stream: OK\0"))
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server
        stopped.set()


def _base64_of_eicar() -> bytes:
    return base64.b64encode(EICAR)


def asking(sink_tester: SinkTesters, server: asyncio.Server, **more: object) -> SinkTester:
    host, port = server.sockets[0].getsockname()
    return sink_tester(VirusScan, socket=f"{host}:{port}", **more)


async def test_a_clean_message_passes_as_it_is(sink_tester: SinkTesters) -> None:
    async with clamd() as server:
        tester = asking(sink_tester, server)
        assert await tester.end_of_data(b"Subject: a\r\n\r\n" + b"x" * 200_000) is None


async def test_an_infected_message_is_refused_with_the_name_of_the_virus(sink_tester: SinkTesters) -> None:
    async with clamd() as server:
        verdict = await asking(sink_tester, server).end_of_data(infected())
    assert verdict == Reject(550, "5.7.1", "The message holds a virus: Eicar-Test-Signature")


async def test_it_can_be_put_aside_instead(sink_tester: SinkTesters) -> None:
    async with clamd() as server:
        assert await asking(sink_tester, server, found="quarantine").end_of_data(infected()) == Quarantine("virus: Eicar-Test-Signature")


async def test_infected_parts_can_be_taken_out_and_the_others_stay(sink_tester: SinkTesters) -> None:
    async with clamd() as server:
        tester = asking(sink_tester, server, found="remove")
        assert await tester.end_of_data(infected()) is None
    parsed = message_from_bytes(tester.content, policy=policy.default)
    bad, good = parsed.get_payload()[1:]
    assert parsed["Subject"] == "[virus removed] invoice"
    assert "'invoice.com' held Eicar-Test-Signature" in bad.get_content()
    assert good.get_content() == b"harmless"
    assert EICAR not in tester.content


async def test_what_is_infected_as_a_whole_and_not_in_a_part_is_put_aside(sink_tester: SinkTesters) -> None:
    async with clamd(b"stream: Heuristics.Phishing FOUND\0") as server:
        tester = asking(sink_tester, server, found="remove")
        assert await tester.end_of_data(infected()) == Quarantine("virus: Heuristics.Phishing")


@pytest.mark.parametrize("answer", [b"INSTREAM size limit exceeded. ERROR\0", b"\0"])
async def test_an_answer_that_is_neither_yes_nor_no_defers(sink_tester: SinkTesters, answer: bytes) -> None:
    async with clamd(answer) as server:
        tester = asking(sink_tester, server)
        with pytest.raises(ValueError, match="clamd says"):
            await tester.end_of_data()
        tester.bound(on_error="defer")
        assert isinstance(await tester.end_of_data(), Defer)


async def test_no_answer_in_time_and_no_clamd_defer(sink_tester: SinkTesters) -> None:
    async with clamd(silent=True) as server:
        tester = asking(sink_tester, server, seconds=0.1)
        with pytest.raises(TimeoutError):
            await tester.end_of_data()
    tester = sink_tester(VirusScan, socket="/nonexistent/clamd.ctl")
    tester.bound(on_error="defer")
    assert isinstance(await tester.end_of_data(), Defer)


@pytest.fixture
def real_clamd(tmp_path: Path) -> str:
    """The socket of a real clamd that knows one virus; its own signatures would be 300 MB."""
    program = shutil.which("clamd", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("clamd is not installed")
    (tmp_path / "eicar.hdb").write_text(f"{hashlib.md5(EICAR).hexdigest()}:{len(EICAR)}:Eicar-Test-Signature\n")
    (tmp_path / "clamd.conf").write_text(f"LocalSocket {tmp_path}/clamd.ctl\nDatabaseDirectory {tmp_path}\nForeground yes\nUser root\n")
    process = spawn([program, "-c", str(tmp_path / "clamd.conf")])
    try:
        wait_until((tmp_path / "clamd.ctl").exists, "clamd listens", 30)
        yield f"{tmp_path}/clamd.ctl"
    finally:
        end(process)


async def test_with_the_real_clamd(sink_tester: SinkTesters, real_clamd: str) -> None:
    tester = sink_tester(VirusScan, socket=real_clamd)
    assert await tester.end_of_data(b"Subject: a\r\n\r\n" + b"x" * 200_000) is None
    verdict = await tester.end_of_data(infected())
    assert isinstance(verdict, Reject)
    assert "Eicar-Test-Signature" in verdict.text
    tester = sink_tester(VirusScan, socket=real_clamd, found="remove")
    assert await tester.end_of_data(infected()) is None
    assert "[virus removed]" in (tester.message.header.get("Subject") or "")
