"""Sessions from the banner to QUIT over links that cut, delay and break: what the client counts as taken is the server's, whole and once.

SMTP and LMTP, in clear and within real TLS after STARTTLS. What is not taken yet is tried again over the next link, as deliveries do.
"""

from __future__ import annotations

import random
import ssl
from collections import Counter
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzzing.whole_sessions import Client, Letter, Link, Served, Way
from penstock.hosts.smtp.certificates import CertificateFiles, Certificates, TlsRules
from penstock.wire.smtp.client_events import Ending
from support.certificates import certificate

NAMES = ("c@d.example", "e@d.example", "f@g.example")


@cache
def tls() -> tuple[Certificates, ssl.SSLContext]:
    """What both sides of TLS need; the client believes no other certificate."""
    own = certificate("mx.example.com")
    context = ssl.create_default_context(cafile=str(own.certificate))
    return Certificates((CertificateFiles(own.certificate, own.key),), TlsRules()), context


def letters(bodies: list[bytes]) -> list[Letter]:
    return [Letter(b"Message-ID: <%d@b.example>\r\n\r\n" % number + body, list(NAMES)) for number, body in enumerate(bodies)]


def session(way: Way, dice: random.Random, mail: list[Letter], store: Counter[tuple[str, bytes]]) -> tuple[Client, Served, Link]:
    """One session to its end. Raises Hung."""
    client, server = Client(way, mail), Served(way, dice, store)
    link = Link(way, dice, client, server)
    link.run()
    return client, server, link


def check(mail: list[Letter], store: Counter[tuple[str, bytes]]) -> None:
    """What was taken is there, whole, and once; more often only where a link broke while nobody could know."""
    known = {letter.content for letter in mail}
    assert not [content for _, content in store if content not in known], "a message arrived that nobody sent so"
    for letter in mail:
        assert len(letter.taken) == len(set(letter.taken)), "a recipient was served again after the answer"
        for name in NAMES:
            copies, taken = store[name, letter.content], name in letter.taken
            assert taken <= copies <= taken + letter.uncertain[name]
        assert sorted([*letter.pending, *letter.taken, *letter.refused]) == sorted(NAMES)


lines = st.lists(st.sampled_from([b".", b"..", b"", b"QUIT", b".\x00\xff", b"RSET", b"x" * 300]), min_size=0, max_size=6)
bodies = st.lists(lines.map(lambda several: b"".join(line + b"\r\n" for line in several)), min_size=1, max_size=4)
keywords = st.frozensets(st.sampled_from(["PIPELINING", "CHUNKING", "SIZE", "8BITMIME", "DSN"]))
# Where links break, counted in all octets or in those of the server: a handshake alone has some 1,500 of them.
cuts = st.lists(st.tuples(st.sampled_from(["carries", "heard"]), st.one_of(st.integers(0, 1200), st.integers(0, 6000))), max_size=5)


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])
@settings(max_examples=250, deadline=None)
@given(bodies=bodies, chunk=st.sampled_from([0, 0, 1, 17, 5000]), seed=st.integers(0, 10**6), cuts=cuts, without=keywords)
def test_what_is_taken_arrived_whole_and_once_and_nobody_hangs(
    lmtp: bool, secure: bool, bodies: list[bytes], chunk: int, seed: int, cuts: list[tuple[str, int]], without: frozenset[str]
) -> None:
    dice, mail, store = random.Random(seed), letters(bodies), Counter[tuple[str, bytes]]()
    for kind, octets in (*cuts, ("carries", 10**9)):
        way = Way(lmtp, tls() if secure else None, chunk, without, **{kind: octets})
        client, server, link = session(way, dice, mail, store)
        check(mail, store)
        assert not secure or b"Message-ID" not in link.carried
        assert all(secured == secure for _, secured in server.senders)
    assert client.closed is not None
    # Each BDAT of a content that is refused at its beginning is an error more, and of errors there may be so many.
    assert client.closed.ending is Ending.QUIT or (client.closed.ending is Ending.SHUTTING_DOWN and chunk)


@pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), chunk=st.sampled_from([0, 17]))
def test_no_octet_before_tls_is_interpreted_after_it(lmtp: bool, seed: int, chunk: int) -> None:
    """RFC 3207 §4.2. The session goes on as if nothing had been said, or ends; the mail is tried again by another one."""
    dice, mail, store = random.Random(seed), letters([b"one\r\n", b"two\r\n"]), Counter[tuple[str, bytes]]()
    for intruder in (True, False):
        client, server, link = session(Way(lmtp, tls(), chunk, intruder=intruder), dice, mail, store)
        assert [sender for sender, secured in server.senders if sender != "a@b.example" or not secured] == []
        assert "X-EVIL" not in client.offers
        assert b"Message-ID" not in link.carried
        check(mail, store)
        assert sum(letter.uncertain.total() for letter in mail) == 0


def test_an_intruder_is_heard_in_some_sessions_and_ends_others() -> None:
    """The test above would be empty if his octets always came too late, or never."""
    ends = Counter[str]()
    for seed in range(60):
        dice, mail = random.Random(seed), letters([b"one\r\n"])
        client, _, link = session(Way(tls=tls(), intruder=True), dice, mail, Counter())
        assert client.closed is not None
        ends[f"{b'evil' in link.carried} {client.closed.ending.name}"] += 1
    assert ends["True QUIT"], ends
    assert ends["True DISCONNECTED"], ends
    assert ends["True EOF"], ends
