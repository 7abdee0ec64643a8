"""What a server logs in with to others is in nothing that it writes: log, trace, capture, spool, or what its commands print."""

from __future__ import annotations

import asyncio
import base64
import smtplib
from pathlib import Path

import pytest

from support.remote import Remote
from support.script import Face, Phase, Script, reply
from support.server import Server
from support.waiting import wait_until

USER, SECRET = "relay-user", "a-Secret-that-0nly-the-r3mote-knows"
MORE = """\
[log]
level = "debug"
[relay]
networks = ["127.0.0.1"]
[retry]
intervals = ["1s"]
glitch = ["0.2s"]
[delivery]
smart_host = "[127.0.0.1]:{port}"
[trace]
sample = "100%"
rate = 0
folder = "{folder}/traces"
[capture]
enabled = true
folder = "{folder}/captures"
bodies = "keep"
answers = true
[[binding]]
name = "look"
sink = "support.outbound_sinks:Look"
[route."[127.0.0.1]:{port}"]
user = "{user}"
token = "{token}"
password = "{password}"
mechanisms = ["{mechanism}"]
"""


def _forms(mechanism: str) -> set[str]:
    """The secret as it is, and in all the forms in which it is said."""
    whole = [f"\0{USER}\0{SECRET}", SECRET, f"user={USER}\x01auth=Bearer {SECRET}\x01\x01"]
    coded = {base64.b64encode(text.encode()).decode() for text in whole}
    # Within a longer text base64 of the same octets has one of three forms, without what depends on its neighbours.
    within = {base64.b64encode(b"x" * shift + SECRET.encode()).decode()[4:-4] for shift in range(3)}
    return {SECRET, *coded, *within}


@pytest.mark.parametrize("repeats", [False, True], ids=["said", "repeated by the server"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2"])
async def test_no_file_of_the_server_has_it(tmp_path: Path, mechanism: str, repeats: bool) -> None:
    """With all that can be switched on to see more; also when the other server repeats it in its replies."""
    usual = Face(tls=True, accounts={USER: SECRET}, mechanisms=(mechanism,))
    plain = base64.b64encode(f"\0{USER}\0{SECRET}".encode()).decode()
    script = Script({Phase.AUTH: reply(f"535 5.7.8 {SECRET} and {plain} are wrong")} if repeats else {}, usual)
    async with Remote(script) as remote:
        await asyncio.to_thread(_send, tmp_path / "server", remote, mechanism, repeats)
    kept = [path for path in (tmp_path / "server").rglob("*") if path.is_file() and path.name != "penstock.toml"]
    assert any(path.suffix == ".jsonl" for path in kept)
    for path in kept:
        content = path.read_bytes().decode("latin-1")
        for form in _forms(mechanism):
            assert form not in content, path


def _send(folder: Path, remote: Remote, mechanism: str, repeats: bool) -> None:
    bearer = mechanism == "XOAUTH2"
    password, token = ("", SECRET) if bearer else (SECRET, "")
    more = MORE.format(port=remote.port, folder=folder, user=USER, password=password, token=token, mechanism=mechanism)
    with Server(folder, more=more) as server:
        with smtplib.SMTP(*server.address, timeout=20) as client:
            client.sendmail("alice@client.example", ["bob@remote.example"], b"Subject: hello\r\n\r\nhello\r\n")
        if repeats:
            server.wait_for_log(lambda line: line["event"] == "login refused", "a login was refused")
        else:
            wait_until(lambda: remote.transactions and remote.transactions[0].whole, "the mail is there", 20)
            server.wait_for_log(lambda line: line["event"] == "relayed", "it was relayed")
        shown = ("queue list --json", "queue destinations --json", "bindings --json", "trace --json")
        said = "".join(server.command(*words.split()) for words in shown)
        assert server.stop() == 0
    for form in _forms(mechanism):
        assert form not in said
