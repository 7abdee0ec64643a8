"""Delivery to programs: real ones, that read, refuse, hang, die and shout."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
import time
from pathlib import Path

import pytest

from penstock.sinks import Pipe, PipeSettings
from penstock.verdicts import Bounce, Defer, Delivered, Verdict

from .asking import delivered

MAIL = b"Subject: x\r\n\r\n" + b"line\r\n" * 50_000


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Where a test writes its program."""
    return tmp_path / "program"


async def run(script: Path, text: str, arguments: str = "", address: str = "alice+lists@example.com", **more: object) -> Verdict | None:
    """What comes of a delivery to a shell script of this text."""
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    settings = {name: more.pop(name) for name in ("seconds", "user", "umask", "environment", "directory") if name in more}
    sink = Pipe(PipeSettings(command=f"{script} {arguments}".strip(), **settings))
    return await delivered(sink, address, raw=MAIL, **more)


async def test_the_program_gets_the_message_and_the_envelope(script: Path, tmp_path: Path) -> None:
    arguments = "'{local} x' {domain} {detail} -f{sender} {recipient}"
    text = f'cat > {tmp_path}/in; for a; do echo "$a"; done > {tmp_path}/args; env | sort > {tmp_path}/env'
    assert await run(script, text, arguments, sender="b@client.example", environment={"MORE": "1"}) == Delivered(f"pipe:{script}")
    assert (tmp_path / "in").read_bytes() == b"Return-Path: <b@client.example>\r\nDelivered-To: alice+lists@example.com\r\n" + MAIL
    assert (tmp_path / "args").read_text().splitlines() == [
        "alice x", "example.com", "lists", "-fb@client.example", "alice+lists@example.com",
    ]  # fmt: skip
    found = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert {name: found[name] for name in ("SENDER", "RECIPIENT", "LOCAL", "DOMAIN", "EXTENSION", "MESSAGE_ID", "MORE")} == {
        "SENDER": "b@client.example", "RECIPIENT": "alice+lists@example.com", "LOCAL": "alice", "DOMAIN": "example.com",
        "EXTENSION": "lists", "MESSAGE_ID": "m1", "MORE": "1",
    }  # fmt: skip
    assert "HOME" not in found
    assert stat.S_IMODE((tmp_path / "in").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (64, Bounce("5.3.5", "command line usage error")),
        (65, Bounce("5.6.0", "data format error")),
        (67, Bounce("5.1.1", "user unknown")),
        (69, Bounce("5.3.0", "service unavailable")),
        (77, Bounce("5.7.0", "permission denied")),
        (75, Defer(451, "4.3.0", "The command failed temporarily")),
        (71, Defer(451, "4.3.0", "The command failed temporarily")),
        (1, Defer(451, "4.3.0", "The command failed temporarily")),
        (127, Defer(451, "4.3.0", "The command failed temporarily")),
    ],
)
async def test_the_exit_code_decides(script: Path, code: int, verdict: Verdict) -> None:
    assert await run(script, f"exit {code}") == verdict


async def test_what_it_prints_is_in_the_report_but_short_and_printable(script: Path) -> None:
    assert await run(script, "echo '5.7.1 No thanks'; exit 77") == Bounce("5.7.1", "No thanks")
    assert await run(script, "echo '4.2.2 Full' >&2; exit 75") == Defer(451, "4.2.2", "Full")
    assert await run(script, "echo '4.2.2 Full'; exit 77") == Bounce("5.7.0", "Full")
    verdict = await run(script, r"printf 'a\r\nb\033[31m\377'; head -c 3000000 /dev/zero | tr '\0' x; exit 69")
    assert isinstance(verdict, Bounce)
    assert verdict.text.startswith("a b [31m")
    assert len(verdict.text) <= 200
    assert verdict.text.isprintable()


async def test_a_program_that_does_not_read_is_no_error(script: Path) -> None:
    assert await run(script, "exit 0") == Delivered(f"pipe:{script}")
    assert await run(script, "exec <&-; sleep 0.1; exit 67") == Bounce("5.1.1", "user unknown")


async def test_one_that_is_late_is_killed_with_all_that_it_started(script: Path, tmp_path: Path) -> None:
    text = f"sleep 60 & echo $! > {tmp_path}/child; wait"
    assert await run(script, text, seconds=0.5) == Defer(451, "4.3.0", "The command did not end in time")
    assert not _alive(int((tmp_path / "child").read_text()))


async def test_a_child_that_holds_the_output_open_delays_nobody(script: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    assert await run(script, f"sleep 60 & echo $! > {tmp_path}/child; cat > /dev/null; exit 0") == Delivered(f"pipe:{script}")
    assert time.monotonic() - start < 10
    child = int((tmp_path / "child").read_text())
    while _alive(child):  # it was killed, and on a busy machine that takes a moment
        assert time.monotonic() - start < 20
        await asyncio.sleep(0.01)


async def test_one_that_is_killed_by_a_signal_puts_off(script: Path) -> None:
    assert isinstance(await run(script, "kill -9 $$"), Defer)


async def test_no_part_of_an_address_is_taken_for_a_command_or_an_option(script: Path, tmp_path: Path) -> None:
    evil = '"$(touch evil);`id`"@example.com'
    assert isinstance(
        await run(script, f'echo "$1" > {tmp_path}/got; cat > /dev/null', "{local}", evil, directory=str(tmp_path)), Delivered
    )
    assert not (tmp_path / "evil").exists()
    assert (tmp_path / "got").read_text().startswith("$(touch")
    option = await run(script, "exit 0", "{local}", "-oQ/tmp@example.com")
    assert isinstance(option, Bounce)
    assert option.enhanced == "5.1.3"


async def test_it_runs_as_another_user() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may run programs as another user")
    # Nobody but root may enter pytest's own folder.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        text = "cat > /dev/null; test `id -un` = nobody -a `id -G` = `id -G nobody` -a `umask` = 0027 || exit 67"
        assert isinstance(await run(Path(folder) / "program", text, user="nobody", umask=0o027), Delivered)


async def test_a_route_names_the_command_and_other_routes_are_left_alone() -> None:
    routed, bound = Pipe(PipeSettings()), Pipe(PipeSettings(command="/bin/false"))
    assert await delivered(routed, route="pipe:/bin/true") == Delivered("pipe:/bin/true")
    assert await delivered(bound, route="pipe:/bin/true") == Delivered("pipe:/bin/true")
    assert await delivered(routed) is None
    assert await delivered(bound, route="file:/x") is None
    assert isinstance(await delivered(routed, route="pipe:/no/such/program"), Defer)
    assert isinstance(await delivered(routed, route="pipe:/bin/true {user}"), Defer)


@pytest.mark.parametrize("command", ["relative/program", "/bin/true {user}", "/bin/true 'open", "/bin/true {}"])
def test_a_command_that_could_never_run_is_refused(command: str) -> None:
    with pytest.raises(ValueError, match=r"command|quotation"):
        Pipe(PipeSettings(command=command))
    with pytest.raises(ValueError, match="no user"):
        Pipe(PipeSettings(user="no-such-user-here"))


def _alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
