"""Writes the seeds: ``python -m fuzz.seeds``.

Few and small, each something that a parser should know; what atheris makes of them is not kept."""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock.admin.protocol import ListMessages, ShowMessage, encode
from penstock.capture.format import CapturedSession, Step
from penstock.capture.format import encode as encode_session
from penstock.isolation import values
from penstock.isolation.frames import Answer, Ask, Cancel, Done, Failed, Line, Ready
from penstock.mail.address import Address
from penstock.mail.message import MessageRecord, encode_record
from penstock.observe.trace_entries import Asked, Entry, encode_entry

CORPUS = Path(__file__).parent / "corpus"

_SESSION = b"EHLO c.example\r\nMAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME\r\nRCPT TO:<c@d.example> NOTIFY=FAILURE\r\n"
_DATA = _SESSION + b"DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n"
_LDAP = bytes.fromhex("300c02010161070a010004000400")
_ENTRY = bytes.fromhex("302a02010264250406636e3d78783d30 1b 3019 04046d61696c 3111 0406614062 2e63 0407 784079 2e7a 7a".replace(" ", ""))
_HELLO = bytes.fromhex("160301002f0100002b0303" + "00" * 32 + "0000021301010000000010000a000800060568322d3134")


def _counted(*parts: str | bytes) -> bytes:
    """Texts as ``Reader.text`` takes them."""
    made = b""
    for part in parts:
        octets = part.encode() if isinstance(part, str) else part
        made += len(octets).to_bytes(2, "big") + octets
    return made


def _seeds() -> dict[str, list[bytes]]:
    return {
        "address": [
            b"<alice@example.com>",
            b'<"a \\"b\\""@x.example>',
            b"<@a,@b:c@d>",
            "<ä@é.example>".encode(),
            b"a@[IPv6:::1]",
            b"a@[192.0.2.1]",
        ],
        "header": [b"Subject: a\r\n b\r\nTo : x\r\n\r\nbody", b"A:\nB: c\n\n", b"X: =?utf-8?q?a=C3=A9?=\r\n\r\n"],
        "edits": [
            _counted("A: b\r\nB: c\r\n") + b"\0\0" + _counted("Subject", "hi\r\n there"),
            _counted("A: b\r\n") + b"\0\2" + _counted("A", "é"),
        ],
        "encoded_words": [b"=?utf-8?q?a=C3=A9?= =?utf-8?b?w6k=?=", b"=?utf-7?q?+AAo-?=", b"=?iso-2022-jp?b?GyRC?="],
        "next_hop": [b"mx:example.com:587", b"[2001:db8::1]:25", b"lmtp:unix:/run/x.sock", b"smtp:[a.example]", b"mx:example.com;bulk"],
        "report": [b"\2\x58" + _counted("5.1.1", "no such user\nmore", "rfc822;a@b", "a@b.example") + b"Subject: x\r\n\r\nbody\r\n"],
        "reply_out": [b"\1\xf4" + _counted("5.1.1") + b"no\r\n250 ok"],
        "claim": [
            b"ADDR=192.0.2.1 NAME=a.example PORT=25",
            b"LOGIN=a+20b HELO=[IPv6:2001:db8::1] ADDR=IPV6:2001:db8::1",
            b"NAME=[UNAVAILABLE]",
        ],
        "command": [
            b"MAIL FROM:<a@b> SIZE=5",
            b'RCPT TO:<"x y"@b> ORCPT=rfc822;a+2Bb',
            b"BDAT 5 LAST",
            b"AUTH PLAIN AGEAYg==",
            b"EHLO [192.0.2.1]",
        ],
        "smtp_server": [
            _DATA,
            _SESSION + b"BDAT 4\r\nab\r\nBDAT 0 LAST\r\nRSET\r\n",
            b"GET / HTTP/1.1\r\n",
            b"EHLO x\r\nVRFY a\r\nHELP\r\nNOOP\r\n",
        ],
        "lmtp_server": [_DATA.replace(b"EHLO", b"LHLO"), b"LHLO x\r\nMAIL FROM:<> PRDR\r\n"],
        "smtp_client": [
            b"220 x\r\n250-x\r\n250-SIZE 5\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 done\r\n",
            b"220 x\r\n500 no\r\n250 x\r\n",
        ],
        "reply": [b"250-2.1.0 a\r\n250 2.1.0 b\r\n", b"550\r\n", b"421 4.3.2 bye\n220 x"],
        "content": [b"a\r\n.\r\n.b\r\n", b".", b"\r\r\n\n.\r\n", b"a\r\n.\r\nQUIT\r\n"],
        "sasl": [
            b"\0\2\0\1" + _counted("n,,n=alice,r=abc") + _counted("c=biws,r=abc,p=AAAA"),
            b"\0\7\0\1" + _counted(b"\0alice\0secret"),
            b"\0\4\0\1" + _counted(b"n,a=alice,\1host=x\1auth=Bearer t\1\1"),
        ],
        "proxy": [
            b"PROXY TCP4 192.0.2.1 192.0.2.2 5 25\r\nEHLO",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\1\2\3\4\5\6\7\x08\0\5\0\x19EHLO",
            b"PROXY UNKNOWN\r\n",
        ],
        "client_hello": [_HELLO],
        "certificate": [bytes.fromhex("3082000a3000300030003000")],
        "aliases": [
            b'postmaster: root, alice@x.example\nlist: :include:/etc/list,\n  bob\nx: |"/bin/true a", /var/mail/x, \\y\n# no\n',
            b'"a b": c\n',
        ],
        "virtual": [b"a@x.example  b, c@y.example\n@old.example @new.example\n# no\n"],
        "rows": [_counted("a@b.example") + b"\0\1" + _counted("c@d.example, e", "owner@x") + b"\0\1"],
        "rules": [_counted("mail from=*@x.example;rcpt to=sales*", "salesman") + b"a*b*c*@.example.com"],
        "config": [
            b'[server]\nhostname = "mx.example.com"\n[[listener]]\naddress = "127.0.0.1:2525"\n',
            b'[limits]\nmessage_size = "25 MiB"\n[[binding]]\nname = "x"\nuse = "discard"\n[binding.match]\nsender = "*"\n',
        ],
        "capture": [encode_session(CapturedSession(steps=[Step(0.5, "command", "QUIT\r\n")])), b'{"v":1}\n{"a":\n'],
        "trace": [encode_entry(Entry(1.0, "rcpt_to", asked=[Asked("x")], details={"a": "b"}), 100_000)[:-1]],
        "record": [encode_record(MessageRecord("1KA9D2M7QRX4T000", header=b"A: b\r\n"))],
        "spool": [b"\0\1\0\0\0\0\0\0\1\0\0\3\0\5hello", b"\0\0\0\2\0\1\0\x10\0\0", b"\0\3" + bytes(range(60))],
        "frames": [
            msgspec.msgpack.encode(f) for f in (Ready(), Failed(1, "E", "t", "x"), Done(1, b"", [], [], b"", b""), Ask(1, 2, "w", b""))
        ]
        + [msgspec.msgpack.encode(f) for f in (Answer(1, b""), Cancel(3), Line("info", "x", {"a": 1}))],
        "shared_values": [values.encode({"a": [1, 2.0, b"x", None, (1,), {1: 2}, 2**80]}), values.encode(Address("a", "b"))],
        "ldap_answers": [_LDAP, _ENTRY, b"\x30\x84\xff\xff\xff\xff"],
        "ldap_filter": [_counted("(&(objectClass=person)(!(mail=a*b)))") + b"alice*)(x=\0"],
        "control": [encode(ListMessages()), encode(ShowMessage(id="x")), b'{"re":"done","cursor":""}\n', b'{"re":"data","octets":"YWJj"}'],
    }


def main() -> None:
    """Writes them all."""
    for target, octets in _seeds().items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(octets, 1):
            (folder / f"{number:02}").write_bytes(seed)


if __name__ == "__main__":
    main()
