"""The page of extensions is about those that listeners offer: no more, no less."""

from __future__ import annotations

import smtplib
import ssl
from pathlib import Path

from docs.pages import ROOT, rows
from support.certificates import certificate
from support.server import Server

PAGE = ROOT / "docs" / "reference" / "extensions.md"
EVERYTHING = """
[auth]
stores = ["file:{users}"]

[tls]
certificates = [{{ certificate = "{certificate}", key = "{key}" }}]

[[listener]]
name = "all"
address = "127.0.0.1:0"
service = "submission"
tls = "offer"
xclient = ["127.0.0.1"]
etrn = ["127.0.0.1"]
atrn = true
"""


def test_a_listener_that_offers_everything_offers_what_the_page_lists(tmp_path: Path) -> None:
    listed = {row[0].strip("`") for row in rows(PAGE.read_text())}
    own = certificate("mx.example.com")
    users = tmp_path / "users"
    users.touch(0o600)
    with Server(tmp_path / "server", more=EVERYTHING.format(users=users, certificate=own.certificate, key=own.key)) as server:
        with smtplib.SMTP(*server.at("all"), timeout=20) as client:
            client.ehlo("client.example")
            in_clear = set(client.esmtp_features)
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            client.starttls(context=context)
            client.ehlo("client.example")
            within = set(client.esmtp_features)
        with smtplib.SMTP(*server.address, timeout=20) as client:
            client.ehlo("client.example")
            plain = {name.upper() for name in client.esmtp_features}
    assert {name.upper() for name in in_clear | within} == listed
    assert listed - plain == {"AUTH", "REQUIRETLS", "FUTURERELEASE", "ETRN", "ATRN", "XCLIENT", "XFORWARD"}
