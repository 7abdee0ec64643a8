"""A configuration with directories and deliveries of every kind, in a running server that takes mail by SMTP."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hosts.running import Running, until
from penstock.config import load, plugs
from transport.sinks import empty

CONFIG = """
[server]
hostname = "mx.example.com"
[[listener]]
name = "mx"
address = "127.0.0.1:0"
[domain."example.com"]
deliver = "maildir:mail/{local}"
recipients = ["alice", "bob"]
aliases = "aliases"
virtual = "virtual"
[[binding]]
name = "people"
sink = "penstock.sinks:Sqlite"
priority = 16384
[binding.settings]
path = "people.db"
query = "SELECT destination FROM people WHERE address = :address"
domains = ["example.com"]
authoritative = false
"""


async def test_directories_lead_mail_to_deliveries_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text(CONFIG)
    (tmp_path / "aliases").write_text(
        f'all: alice, info, carol, {tmp_path}/box, {tmp_path}/dir/, "|/usr/bin/tee {tmp_path}/piped", :include:{tmp_path}/list\n'
    )
    (tmp_path / "list").write_text("# the list\nalice\nbob+x\n")
    (tmp_path / "virtual").write_text("info bob\n")
    with sqlite3.connect(tmp_path / "people.db") as connection:
        connection.executescript("CREATE TABLE people (address, destination); INSERT INTO people VALUES ('carol@example.com', NULL)")
    connection.close()
    async with Running(*plugs(load(tmp_path / "penstock.toml"))) as server:
        client = await server.client()
        for line, code in (
            ("EHLO c.example", "250"), ("MAIL FROM:<a@c.example>", "250"), ("RCPT TO:<all@example.com>", "250"),
            ("RCPT TO:<carol@example.com>", "250"), ("RCPT TO:<nobody@example.com>", "550"), ("RCPT TO:<x@elsewhere.example>", "550"),
            ("DATA", "354"), ("Subject: x\r\n\r\nhello\r\n.", "250"),
        ):  # fmt: skip
            assert (await client.say(line))[:3] == code, line
        await until(lambda: (tmp_path / "piped").exists() and (tmp_path / "box").exists(), "deliveries")
        await empty(server)
    boxes = {path.name: [file.read_text() for file in (path / "new").iterdir()] for path in (tmp_path / "mail").iterdir()}
    assert {name: len(files) for name, files in boxes.items()} == {"alice": 1, "bob": 2, "carol": 1}
    (kept,) = (tmp_path / "dir" / "new").iterdir()
    for text in (kept.read_text(), (tmp_path / "box").read_text(), (tmp_path / "piped").read_text()):
        assert "Delivered-To: all@example.com\n" in text
        assert "hello" in text
