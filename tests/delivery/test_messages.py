"""What is sent: envelope parameters, content of all kinds and sizes, and as many transactions as it takes."""

from __future__ import annotations

import email
import email.policy
import threading

import pytest

from delivery.stand import MAIL, Stand, actions, hop_settings
from delivery.test_outbound_events import NO_CHUNKING, at
from penstock import Address, Recipient
from penstock.delivery.downgrade import converted
from penstock.delivery.settings import EightBit, HopLimits
from penstock.errors import StorageDamaged
from penstock.events import BeforeData
from penstock.mail.content import MemoryContent
from penstock.mail.envelope import MailParameters
from support.remote import Remote
from support.script import BASE_EXTENSIONS, At, Close, Face, Phase, Read, Script, reply

QUEUE = "[127.0.0.1]:{}"
DATA = Face(extensions=NO_CHUNKING)
EIGHT = "Subject: hello\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n.\r\n".encode()


class OnDisk:
    """A content that reads as slowly as a disk, may be damaged from somewhere on, and must not be read on the loop."""

    in_memory = False

    def __init__(self, data: bytes, error: Exception | None = None, good: int = 0) -> None:
        self.data = data
        self.size = len(data)
        self.error = error
        self.good = good
        self.reads = 0
        self.loop = threading.get_ident()

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        assert threading.get_ident() != self.loop, "the loop waited for the disk"
        self.reads += 1
        if self.error is not None and self.reads > self.good:
            raise self.error
        return self.data[offset:] if length < 0 else self.data[offset : offset + length]


def big(lines: int = 40_000) -> bytes:
    return b"Subject: big\r\n\r\n" + b"".join(b".%060d\r\n" % n for n in range(lines))


# Large content.


@pytest.mark.parametrize("face", [DATA, Face()], ids=["data", "bdat"])
async def test_large_content_is_read_off_the_loop_and_arrives_whole(face: Face) -> None:
    content = OnDisk(big())
    async with Remote(Script(face=face)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert actions(await stand.deliver(stand.mail(content=content))) == {"a": "relayed"}
    assert remote.transactions[0].content == content.data
    assert remote.faults == []


@pytest.mark.parametrize("face", [DATA, Face()], ids=["data", "bdat"])
async def test_content_that_turns_out_damaged_is_never_ended_and_the_message_is_held(face: Face) -> None:
    content = OnDisk(big(), StorageDamaged("content c1"), good=14)
    async with Remote(Script(face=face)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        work = stand.mail(content=content)
        stand.destination.put(work)
        stand.attend()
        await stand.until(lambda: stand.handover.held, "it is held")
        assert "damaged" in stand.handover.held[work.record.id]
        assert not stand.destination.active
    assert not remote.taken()
    assert remote.transactions


async def test_content_that_cannot_be_read_now_is_tried_later() -> None:
    content = OnDisk(big(), OSError(5, "Input/output error"), good=14)
    async with Remote(Script(face=DATA)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert actions(await stand.deliver(stand.mail(content=content))) == {"a": "deferred"}
    assert not remote.taken()


async def test_a_message_that_cannot_be_loaded_is_held_and_the_next_one_goes() -> None:
    async with Remote() as remote, Stand(QUEUE.format(remote.port)) as stand:
        bad, gone, good = stand.mail(), stand.mail(), stand.mail()
        stand.handover.damaged.add(bad.record.id)
        stand.handover.gone.add(gone.record.id)
        stand.destination.put(bad, gone)
        assert actions(await stand.deliver(good)) == {"a": "relayed"}
        assert list(stand.handover.held) == [bad.record.id]
        assert not stand.destination.active
    assert len(remote.transactions) == 1


async def test_memory_does_not_grow_with_what_a_slow_server_has_not_taken() -> None:
    class Counting(OnDisk):
        most = passes = 0

        def read(self, offset: int = 0, length: int = -1) -> bytes:
            Counting.passes += offset == 0
            if Counting.passes > 1:  # the first one only looks it through
                Counting.most = max(Counting.most, offset)
            return super().read(offset, length)

    content = Counting(big(200_000))
    face = Face(extensions=NO_CHUNKING, window=4096)
    script = Script({Phase.CONTENT: [Read(1, 1), Close()]}, face)
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert actions(await stand.deliver(stand.mail(content=content))) == {"a": "deferred"}
    # What the kernel's own buffers hold, and a piece of ours.
    assert 0 < Counting.most < 8 * 1024 * 1024


@pytest.mark.parametrize("content", [b"", b"x", b".", b".\r\n", b"Subject: x\r\n\r\n..\r\n.\r\n"], ids=repr)
@pytest.mark.parametrize("face", [DATA, Face()], ids=["data", "bdat"])
async def test_odd_content_arrives(content: bytes, face: Face) -> None:
    async with Remote(Script(face=face)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert actions(await stand.deliver(stand.mail(content=content))) == {"a": "relayed"}
    got = remote.transactions[0].content
    assert got == content or got == content + b"\r\n" or (content == b"" and got in (b"", b"\r\n"))
    assert remote.faults == []


async def test_bare_line_ends_become_line_ends_also_where_the_server_takes_bdat() -> None:
    async with Remote() as remote, Stand(QUEUE.format(remote.port)) as stand:
        await stand.deliver(stand.mail(content=b"Subject: x\n\none\n.\ntwo\r\n"))
    assert remote.transactions[0].content == b"Subject: x\r\n\r\none\r\n.\r\ntwo\r\n"
    assert remote.faults == []


async def test_bare_line_ends_are_refused_where_they_are_not_to_be_changed() -> None:
    async with Remote() as remote, Stand(QUEUE.format(remote.port), settings=hop_settings(bare_newlines="refuse")) as stand:
        results = await stand.deliver(stand.mail(content=b"Subject: x\n\none\n"))
        assert results[0].status == "5.6.0"
    assert not remote.transactions


# Parameters.


async def test_what_was_asked_for_is_passed_on() -> None:
    recipient = Recipient(Address.parse("a@remote.example"), "a@remote.example", frozenset({"success", "delay"}), "rfc822;A+1@old.example")
    parameters = MailParameters(ret="HDRS", envid="id+1")
    async with Remote() as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail(recipient, parameters=parameters))
        assert results[0].dsn
    assert remote.commands[1] == f"MAIL FROM:<alice@client.example> SIZE={len(MAIL)} RET=HDRS ENVID=id+2B1"
    assert remote.commands[2] == "RCPT TO:<a@remote.example> NOTIFY=DELAY,SUCCESS ORCPT=rfc822;A+2B1@old.example"
    assert remote.faults == []


async def test_it_is_known_when_the_server_will_not_report() -> None:
    recipient = Recipient(Address.parse("a@remote.example"), "a@remote.example", frozenset({"success"}))
    async with Remote(Script(face=Face(extensions=("PIPELINING",)))) as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail(recipient))
        assert actions(results) == {"a": "relayed"}
        assert not results[0].dsn


async def test_a_recipient_beyond_ascii_is_no_reason_to_return_the_mail_of_the_others() -> None:
    async with Remote(Script(face=Face(extensions=("8BITMIME",)))) as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail("grün@remote.example", "b@remote.example"))
        assert actions(results) == {"grün": "failed", "b": "relayed"}
        assert results[0].status == "5.6.7"
    assert remote.faults == []


async def test_a_recipient_beyond_ascii_makes_it_an_internationalized_message() -> None:
    async with Remote() as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert actions(await stand.deliver(stand.mail("grün@remote.example"))) == {"grün": "relayed"}
    assert remote.commands[1].endswith(" SMTPUTF8")


async def test_an_internationalized_header_goes_to_no_server_that_cannot_have_it() -> None:
    content = "Subject: Grüße\r\n\r\nhello\r\n".encode()
    async with Remote(Script(face=Face(extensions=("8BITMIME",)))) as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail(content=content, parameters=MailParameters(smtputf8=True)))
        assert results[0].status == "5.6.7"
        # Nobody asked for SMTPUTF8 here: it is a header as they have always been.
        assert actions(await stand.deliver(stand.mail(content=content))) == {"a": "relayed"}


# 8 bits.


async def test_eight_bits_are_declared() -> None:
    async with Remote() as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert actions(await stand.deliver(stand.mail(content=EIGHT))) == {"a": "relayed"}
    assert "BODY=8BITMIME" in remote.commands[1]


@pytest.mark.parametrize(("how", "expected"), [("convert", "relayed"), ("bounce", "failed"), ("send", "relayed")])
async def test_eight_bits_for_a_server_of_seven(how: EightBit, expected: str) -> None:
    script = Script(face=Face(extensions=("PIPELINING", "SIZE")))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), settings=hop_settings(eight_bit=how)) as stand:
        results = await stand.deliver(stand.mail(content=EIGHT))
        assert actions(results) == {"a": expected}
        if expected == "failed":
            assert results[0].status == "5.6.3"
    if how == "convert":
        got = remote.transactions[0].content
        assert got.isascii()
        assert f"SIZE={len(got)}" in remote.commands[1]
        assert email.message_from_bytes(got, policy=email.policy.SMTP).get_payload(decode=True).decode() == "Grüße\r\n.\r\n"
        assert remote.faults == []


async def test_what_a_sink_makes_of_eight_bits_before_data_is_converted_too() -> None:
    def widen(event: BeforeData) -> None:
        event.message.replace_content(EIGHT)

    async with Remote(Script(face=Face(extensions=()))) as remote, Stand(QUEUE.format(remote.port), at(BeforeData, widen)) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert remote.transactions[0].content.isascii()
    assert remote.faults == []


def downgraded(raw: bytes) -> bytes | None:
    content = converted(MemoryContent(raw))
    return None if content is None else content.read()


MIXED = (
    b'Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary="b 1"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'
    b"pre\xc3\xa4mble\r\n--b 1\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nX-Odd:   kept \r\n\r\n"
    b"gr\xc3\xbc\xc3\x9fe \r\n\r\n--b 1\r\nContent-Type: application/octet-stream\r\n\r\n\x00\xff\r\n--b 1\r\n\r\nplain=\r\n"
    b"--b 1\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nna\xefve\r\n--b 1--\r\n"
)


def test_only_the_parts_that_need_it_are_encoded() -> None:
    got = downgraded(MIXED)
    assert got is not None
    assert got.isascii()
    assert b"X-Odd:   kept \r\n" in got
    assert b"\r\n\r\nplain=\r\n--b 1\r\n" in got
    before, after = (email.message_from_bytes(raw, policy=email.policy.SMTP) for raw in (MIXED, got))
    assert after["Content-Transfer-Encoding"] == "7bit"
    old, new = list(before.walk()), list(after.walk())
    assert [p.get_content_type() for p in old] == [p.get_content_type() for p in new]
    assert new[1].get_payload(decode=True) == old[1].get_payload(decode=True)
    assert new[2].get_payload(decode=True) == b"\x00\xff"
    assert new[-1].get_payload(decode=True) == b"na\xefve"
    assert new[-1].get_content_charset() == "unknown-8bit"
    assert downgraded(got) == got


def test_mail_without_mime_is_given_what_it_lacks() -> None:
    got = downgraded("Subject: x\r\n\r\nGrüße\r\n".encode())
    assert got is not None
    assert email.message_from_bytes(got, policy=email.policy.SMTP).get_payload(decode=True).decode() == "Grüße\r\n"


def test_long_lines_are_broken_softly() -> None:
    got = downgraded(b"MIME-Version: 1.0\r\n\r\n" + "ä".encode() * 2000)
    assert got is not None
    assert max(map(len, got.split(b"\r\n"))) <= 76
    assert b"\n" not in got.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: gr\xfc\r\n\r\nx\r\n",
        b"MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b--\r\n",
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed\r\n\r\n\xff\r\n",
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\xff\r\n",
        b"MIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n\xff\r\n",
        b"MIME-Version: 1.0\r\nContent-Type: message/delivery-status\r\n\r\n\xff\r\n",
        b"MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n\r\n" * 60 + b"\r\n\xff",
    ],
    ids=["header", "signed", "no-boundary", "no-parts", "not-base64", "status", "deep"],
)
def test_what_cannot_be_converted_honestly_is_not(raw: bytes) -> None:
    assert downgraded(raw) is None


# More recipients than a transaction takes.


async def test_many_recipients_go_in_several_transactions_of_one_session() -> None:
    settings = hop_settings(limits=HopLimits(recipients=4, idle=0.05))
    async with Remote() as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        names = [f"r{n}" for n in range(10)]
        results = await stand.deliver(stand.mail(*(f"{name}@remote.example" for name in names)))
        assert actions(results) == dict.fromkeys(names, "relayed")
    assert [len(t.recipients) for t in remote.transactions] == [4, 4, 2]
    assert len(remote.sessions) == 1


async def test_the_servers_own_limit_is_kept() -> None:
    face = Face(extensions=(*BASE_EXTENSIONS, "LIMITS RCPTMAX=3"))
    async with Remote(Script(face=face)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        await stand.deliver(stand.mail(*(f"r{n}@remote.example" for n in range(7))))
    assert [len(t.recipients) for t in remote.transactions] == [3, 3, 1]


@pytest.mark.parametrize("text", ["452 4.5.3 Too many recipients", "452 Too many", "552 Too many"])
async def test_those_who_are_one_too_many_go_in_the_next_transaction(text: str) -> None:
    steps = {At(Phase.RCPT, n): reply(text) for n in range(4, 1000)}
    async with Remote(Script(steps)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail(*(f"r{n}@remote.example" for n in range(8))))
        assert set(actions(results).values()) == {"relayed"}
    assert remote.copies() == {f"r{n}@remote.example": 1 for n in range(8)}
    assert remote.faults == []


async def test_a_full_mailbox_is_not_one_too_many() -> None:
    script = Script({At(Phase.RCPT, 2): reply("452 4.2.2 Mailbox full")})
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail("a@remote.example", "b@remote.example"))
        assert actions(results) == {"a": "relayed", "b": "deferred"}
    assert len(remote.transactions) == 1


async def test_a_thousand_recipients_go_in_one_batch_without_a_deadlock() -> None:
    settings = hop_settings(limits=HopLimits(recipients=1000, idle=0.05))
    async with Remote() as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        results = await stand.deliver(stand.mail(*(f"r{n}@remote.example" for n in range(1000))))
        assert set(actions(results).values()) == {"relayed"}
    assert len(remote.transactions[0].recipients) == 1000


# How it is grouped.


async def test_the_envelope_and_data_leave_in_one_write() -> None:
    reads: list[bytes] = []
    script = Script(face=DATA)
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port)) as stand:
        real = remote_reads(remote, reads)
        await stand.deliver(stand.mail("a@remote.example", "b@remote.example"))
        real()
    assert any(b"MAIL" in r and b"RCPT" in r and r.endswith(b"DATA\r\n") for r in reads)
    assert any(r.endswith(b"\r\n.\r\n") and r.startswith(b"From:") for r in reads)


async def test_nothing_is_grouped_when_that_is_switched_off() -> None:
    reads: list[bytes] = []
    async with Remote(Script(face=DATA)) as remote, Stand(QUEUE.format(remote.port), settings=hop_settings(pipelining=False)) as stand:
        real = remote_reads(remote, reads)
        assert actions(await stand.deliver(stand.mail("a@remote.example", "b@remote.example"))) == {"a": "relayed", "b": "relayed"}
        real()
    assert all(r.count(b"\r\n") == 1 for r in reads if r.startswith((b"MAIL", b"RCPT")))


def remote_reads(remote: Remote, reads: list[bytes]):  # type: ignore[no-untyped-def]
    """Notes what each read of the remote gave; returns what ends that."""
    from support.remote_wire import Wire

    receive = Wire._receive

    async def noting(self: Wire, octets: int) -> bytes:
        data = await receive(self, octets)
        reads.append(data)
        return data

    Wire._receive = noting  # type: ignore[method-assign]

    def undo() -> None:
        Wire._receive = receive  # type: ignore[method-assign]

    return undo
