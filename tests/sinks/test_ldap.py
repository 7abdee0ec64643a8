"""LDAP as a directory, with a real slapd; and with servers that talk nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.sinks import Ldap, LdapSettings
from penstock.sinks import ldapmessages as messages
from penstock.verdicts import Defer, Reject
from support.databases import Slapd, running_slapd

from .asking import at_rcpt, members, resolved

UNKNOWN = Reject(550, "5.1.1", "No such user here")
AWAY = Defer(451, "4.4.3", "The directory cannot be asked now")


def _person(server: Slapd, uid: str, *more: str) -> str:
    lines = [
        f"dn: uid={uid},{server.people}",
        "objectClass: inetOrgPerson",
        "objectClass: extensibleObject",
        f"uid: {uid}",
        "sn: x",
        "cn: x",
    ]
    return "\n".join([*lines, *more]) + "\n\n"


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """A server with some people and groups; "labeledURI" stands for the forwarding attribute, which needs a schema of its own."""
    with running_slapd(tmp_path_factory.mktemp("slapd")) as server:
        people = f"uid=%s,{server.people}"
        server.add(
            _person(server, "alice", "mail: Alice@example.com", "mail: a@example.com", "departmentNumber: 7")
            + _person(server, "bob", "mail: bob@example.com", "labeledURI: bob@other.example")
            + _person(server, "carol", "mail: carol@example.com", "labeledURI: carol@example.com", "labeledURI: c@other.example")
            + _person(server, "ghost")
            + _person(server, "star", "mail: st*r@example.com", "mail: (x)\\y@example.com")
            + _person(server, "bad", "mail: bad@example.com", "labeledURI: not@@good")
            + f"dn: cn=team,{server.people}\nobjectClass: groupOfNames\nobjectClass: extensibleObject\ncn: team\n"
            f"mail: team@example.com\nmember: {people % 'alice'}\nmember: {people % 'bob'}\nmember: {people % 'ghost'}\n"
            f"member: {people % 'gone'}\ndescription: boss@example.com\n\n"
            f"dn: cn=all,{server.people}\nobjectClass: groupOfNames\nobjectClass: extensibleObject\ncn: all\n"
            f"mail: all@example.com\nmember: cn=team,{server.people}\ncarLicense: dave@other.example\n\n"
            f"dn: cn=empty,{server.people}\nobjectClass: groupOfNames\nobjectClass: extensibleObject\ncn: empty\n"
            f"mail: empty@example.com\nmember: {people % 'ghost'}\n"
        )
        yield server


Make = Callable[[LdapSettings], Ldap]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes sinks, which are stopped whatever becomes of the test: uvloop waits for connections that nobody closes."""
    made: list[Ldap] = []

    def one(settings: LdapSettings) -> Ldap:
        made.append(Ldap(settings))
        return made[-1]

    yield one
    for sink in made:
        await sink.stop()


def settings(server: Slapd, **more: object) -> LdapSettings:
    """For this server, with attributes that its schemas have."""
    values: dict[str, object] = {
        "uri": server.uri, "base": server.base, "forward": ["labeledURI"], "member_addresses": ["carLicense"],
        "attributes": ["departmentNumber"], **more,
    }  # fmt: skip
    return LdapSettings(**values)


async def test_people_and_groups_are_found(make: Make, slapd: Slapd) -> None:
    sink = make(settings(slapd, owner="description"))
    alice, other, bob, nobody, team, bad, empty = await resolved(
        sink, "ALICE@example.com", "a+x@example.com", "bob@example.com", "nobody@example.com", "team@example.com", "bad@example.com",
        "empty@example.com",
    )  # fmt: skip
    assert (alice.decision, alice.attributes) == ("resolved", {"departmentNumber": ["7"]})
    assert other.decision == "resolved"
    assert (bob.decision, [str(m) for m in bob.members]) == ("forwarded", ["bob@other.example"])
    assert nobody.decision == ""
    assert (team.decision, str(team.sender)) == ("expanded", "boss@example.com")
    assert [str(m) for m in team.members] == ["Alice@example.com", "bob@example.com"]
    assert (bad.decision, bad.status) == ("deferred", "4.3.5")
    assert empty.decision == "deferred"
    assert sorted(await members(sink, "all@example.com")) == ["dave@other.example", "team@example.com"]
    (carol,) = await resolved(sink, "carol@example.com")
    assert sorted(map(str, carol.members)) == ["c@other.example", "carol@example.com"]


@pytest.mark.parametrize("local", ["*", "al*", ")(uid=alice", "alice)(|(uid=*", "\\2a", "st*r+x*"])
async def test_nothing_in_an_address_is_taken_for_a_filter(make: Make, slapd: Slapd, local: str) -> None:
    sink = make(settings(slapd, domains=["example.com"]))
    quoted = local.replace("\\", "\\\\")
    assert await at_rcpt(f'"{quoted}"@example.com', sink) == (UNKNOWN if local != "st*r+x*" else None)


async def test_the_filter_restricts_who_is_found(make: Make, slapd: Slapd) -> None:
    for condition, found in (
        ("(uid=alice)", True), ("(!(uid=alice))", False), ("(&(uid=al*)(sn=*)(|(cn=x)(cn=y)))", True), ("(uid=*ic\\65)", True),
        ("(departmentNumber>=8)", False), ("(uid=b*b)", False),
    ):  # fmt: skip
        sink = make(settings(slapd, filter=condition, domains=["example.com"]))
        assert (await at_rcpt("alice@example.com", sink) is None) == found, condition


async def test_a_name_and_password_are_used(make: Make, slapd: Slapd) -> None:
    sink = make(settings(slapd, bind_dn=slapd.bind_dn, password=slapd.password, domains=["example.com"]))
    assert await at_rcpt("alice@example.com", sink) is None
    for wrong in ({"bind_dn": slapd.bind_dn, "password": "wrong"}, {"base": "dc=nowhere"}, {"start_tls": True}):
        sink = make(settings(slapd, domains=["example.com"], **wrong))
        assert await at_rcpt("alice@example.com", sink) == AWAY
        assert "wrong" not in repr(settings(slapd, password="wrong"))


async def test_many_are_found_at_once(make: Make, slapd: Slapd) -> None:
    """More than go into one filter, by several askers at the same time."""
    sink = make(settings(slapd))
    names = [*(f"nobody{n}@example.com" for n in range(300)), "alice@example.com"]
    for items in await asyncio.gather(*(resolved(sink, *names) for _ in range(10))):
        assert [item.decision for item in items] == [""] * 300 + ["resolved"]


async def test_a_server_that_comes_back_is_used_again(make: Make, slapd: Slapd) -> None:
    """The connection is cut between two questions, as a restart does."""
    port = 0
    links: list[asyncio.StreamWriter] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", slapd.port)
        links.extend([writer, back])

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while piece := await source.read(4096):
                sink.write(piece)
            sink.close()

        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sink = make(settings(slapd, uri=f"ldap://127.0.0.1:{port}", domains=["example.com"]))
    assert await at_rcpt("nobody@example.com", sink) == UNKNOWN
    for link in links:
        link.transport.abort()
    assert await at_rcpt("nobody@example.com", sink) == UNKNOWN
    server.close()
    for link in links:
        link.transport.abort()
    assert await at_rcpt("nobody@example.com", sink) == AWAY


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[str]:
    """A server that says this to whatever it is asked, and waits."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(10_000)
            writer.write(answer)
            await asyncio.sleep(30)
        finally:
            writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"ldap://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"220 hello\r\n", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x02\x01\x01", b"\x30\x05\x02\x01\x01\x65\x00",
        b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00", b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x0a\x04\x00\x04\x00",
        b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x7f\x04\x00", b"\x30\x0a\x02\x01\x01\x64\x05\x04\x7f\x61\x62\x63",
    ],
)  # fmt: skip
async def test_a_server_that_talks_nonsense_puts_off(make: Make, answer: bytes) -> None:
    async with saying(answer) as uri:
        sink = make(LdapSettings(uri=uri, base="dc=x", domains=["example.com"], seconds=0.5))
        assert await at_rcpt("alice@example.com", sink) == AWAY


@given(st.binary(max_size=60))
def test_octets_of_any_kind_are_a_message_or_are_not(data: bytes) -> None:
    """Nothing else happens: no other error, and no endless loop."""
    for read in (messages.length_of, messages.read, messages.result, messages.entry):
        try:
            read(data)
        except messages.NotLdap:
            continue


@pytest.mark.parametrize(
    "text", ["", "uid=x", "(uid=x", "(&)", "(!(a=b)(c=d))", "(a=b)(c=d)", "(a>=b*)", "(a:dn:=b)", "(" * 500, "(!" * 99]
)
def test_a_filter_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"filter|missing|goes with|follows"):
        messages.parse_filter(text)


def test_settings_that_cannot_be_used_are_refused() -> None:
    for more in ({"uri": "http://x"}, {"uri": "ldap://"}, {"uri": "ldap://x/dc=y"}, {"match": []}, {"seconds": 0.0}, {"domains": ["*"]}):
        with pytest.raises(ValueError):
            Ldap(LdapSettings(**{"uri": "ldap://x", "base": "dc=x", **more}))
