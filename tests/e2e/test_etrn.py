"""Mail that waits on demand is sent by all workers when its server asks one of them for it."""

from __future__ import annotations

import smtplib
from pathlib import Path

from support.messages import MessageMaker
from support.server import Server
from support.waiting import wait_until

MORE = """
[limits]
connections_per_client = 1000

[[listener]]
name = "asked"
address = "127.0.0.1:0"
etrn = ["127.0.0.0/8"]

[domain."office.example"]
kind = "relay"

[route."office.example"]
next_hop = "[127.0.0.1]:{port}"
schedule = "on-demand"
"""
OFFICE = '[domain."office.example"]\nkind = "local"\ndeliver = "maildir:{mail}/{{domain}}/{{local}}"\n'


def queued(server: Server) -> dict[str, str]:
    """Which worker has queued which message."""
    return {line["message"]: line["process"] for line in server.log() if line["event"] == "queued"}


def test_mail_of_all_workers_is_sent_when_one_is_asked(tmp_path: Path) -> None:
    maker = MessageMaker(2000)
    messages = [maker.make() for _ in range(40)]
    with (
        Server(tmp_path / "office", more=OFFICE.format(mail=tmp_path / "office" / "mail")) as office,
        Server(tmp_path / "relay", workers=2, more=MORE.format(port=office.address[1])) as relay,
    ):
        for message in messages:
            with smtplib.SMTP(*relay.address, timeout=20) as client:
                client.sendmail("load@client.example", ["alice@office.example"], message.content)
        # Each has some of it, or this would show nothing.
        wait_until(lambda: len(queued(relay)) == len(messages), "all of it is queued")
        assert set(queued(relay).values()) == {"worker-0", "worker-1"}
        assert not office.mailboxes.refresh()
        with smtplib.SMTP(*relay.at("asked"), timeout=20) as client:
            client.ehlo("office.example")
            assert client.docmd("ETRN", "office.example") == (250, b"2.0.0 Ok, queuing for node office.example started")
        office.mailboxes.wait_for({message.token for message in messages})
        with smtplib.SMTP(*relay.at("asked"), timeout=20) as client:
            client.ehlo("office.example")
            wait_until(lambda: client.docmd("ETRN", "office.example")[0] == 251, "nothing waits any more")
            assert client.docmd("ETRN", "example.com")[0] == 459
