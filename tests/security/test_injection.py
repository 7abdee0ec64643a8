"""No text that sinks, programs or strangers hand over leaves its place: a field, a reply, a command, an address, a file's name."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock
import penstock.verdicts
from penstock.errors import AddressError, HeaderError, LocalProtocolError
from penstock.events.recipients import Recipients, as_address, as_recipient
from penstock.mail.address import Address
from penstock.mail.envelope import MailParameters, Recipient
from penstock.mail.header import Header, split_header
from penstock.mail.reply import Reply
from penstock.sinks.maildir import Maildir, MaildirSettings, safe_name
from penstock.wire.smtp.client_parameters import Facts, Offered, mail_command, rcpt_command
from penstock.wire.smtp.outgoing import Mail, check_line, edited, raw

SOURCE = Path(penstock.__file__).parent
VERDICTS = [getattr(penstock.verdicts, name) for name in penstock.verdicts.__all__]
SPICE = [
    "\r\n",
    "\r",
    "\n",
    "\0",
    "\r\nBcc: x@y.example",
    "\n.\nMAIL FROM:<>",
    "\x1b[2J",
    "\x85",
    "\u2028",
    "\ud800",
    "..",
    "/",
    ".",
    "<",
    ">",
    " ",
    "a",
    "é",
]
nasty = st.lists(st.one_of(st.sampled_from(SPICE), st.text(max_size=5)), max_size=8).map("".join)
ONE_REPLY = re.compile(rb"(?:([2-5][0-9]{2})-[^\r\n\0]*\r\n)*([2-5][0-9]{2}) [^\r\n\0]*\r\n")
EVERYTHING = Offered(("mx", "SMTPUTF8", "DSN", "SIZE", "8BITMIME"))


@given(nasty, nasty, st.sampled_from(["add", "first", "replace"]))
def test_an_edit_of_a_header_makes_one_field_or_none(name: str, value: str, deed: str) -> None:
    header = Header(b"From: a@b.example\r\nSubject: x\r\n")
    try:
        header.replace(name, value) if deed == "replace" else header.add(name, value, first=deed == "first")
    except (HeaderError, UnicodeEncodeError):
        assert header.to_bytes() == b"From: a@b.example\r\nSubject: x\r\n"
        return
    octets = header.to_bytes()
    assert len(header) == 3 - (deed == "replace" and name.lower() in ("from", "subject"))
    assert split_header(octets + b"\r\nBody: x\r\n")[0] == octets
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", octets)


@given(st.data())
@settings(max_examples=300)
def test_a_verdict_with_any_text_is_refused_or_makes_one_reply(data: st.DataObject) -> None:
    """All verdicts, with anything in each field that takes text."""
    cls: Any = data.draw(st.sampled_from([cls for cls in VERDICTS if dataclasses.is_dataclass(cls)]))
    texts = {field.name: data.draw(nasty) for field in dataclasses.fields(cls) if field.init and str(field.type).partition(" ")[0] == "str"}
    try:
        verdict = cls(**texts)
    except (ValueError, TypeError, AddressError):
        return
    reply = getattr(verdict, "reply", None)
    if isinstance(reply, Reply):
        assert ONE_REPLY.fullmatch(reply.to_bytes())
    if "user" in texts:
        assert texts["user"].isprintable()


MADE = [
    Address("a\r\nBcc: x", "b.example"),
    Address("a", "b.example\r\nX: y"),
    Address("a\0", "b"),
    Address("a", "b> NOTIFY=NEVER"),
    Address("a\x85", "b"),
]


@pytest.mark.parametrize("address", MADE)
@pytest.mark.parametrize(
    "use",
    [
        as_address,
        as_recipient,
        lambda a: Recipients([]).add(a),
        lambda a: penstock.verdicts.Rewrite(a),
        lambda a: penstock.verdicts.Forward((a,)),
    ],
)
def test_an_address_put_together_with_line_ends_is_refused(address: Address, use: Callable[[Address], object]) -> None:
    """The parser lets none through; a sink can call the constructor all the same."""
    with pytest.raises(AddressError):
        use(address)


@given(nasty, nasty, nasty, st.dictionaries(nasty, nasty, max_size=2))
@settings(max_examples=300)
def test_what_goes_to_a_server_is_one_line(local: str, domain: str, text: str, others: dict[str, str]) -> None:
    """Envelope, parameters and whole commands, whoever made them."""
    made: list[Callable[[], str]] = [
        lambda: mail_command(Address(local, domain), MailParameters(ret=text, envid=text, other=others), Facts(5), EVERYTHING).command.line,
        lambda: rcpt_command(Recipient(Address(local, domain), orcpt=text, parameters=others), EVERYTHING).command.line,
        lambda: raw(text).line,
        lambda: edited(Mail("MAIL FROM:<>", Address("", "")), f"MAIL FROM:<{text}>").line,
    ]
    for make in made:
        try:
            octets = check_line(make())
        except (LocalProtocolError, UnicodeEncodeError):
            continue
        assert not re.search(rb"[\r\n\0]", octets)


@given(nasty, nasty)
@settings(max_examples=300)
def test_a_maildir_is_where_its_template_says(local: str, domain: str) -> None:
    """Dots, slashes, NUL, very long names, capital letters: the folder is one below another below the first."""
    sink = Maildir(MaildirSettings("/srv/mail/{domain}/{local}/.{detail}"))
    for one in (local, local * 300, f"a+{local}", f"{local}+..", ".", "..", "...", "~", "-rf"):
        folder = sink.folder(Address(one.encode("utf-8", "replace").decode(), domain.encode("utf-8", "replace").decode()))
        assert folder.parts[:3] == ("/", "srv", "mail")
        assert 5 <= len(folder.parts) <= 6
        assert not {"..", "."} & set(folder.parts)
        assert all(len(part) <= 255 and re.fullmatch(r"[A-Za-z0-9_+=\-.%]+", part) for part in folder.parts[3:])


@given(nasty, nasty)
def test_two_names_never_share_a_file(one: str, other: str) -> None:
    first, second = (text.encode("utf-8", "replace").decode() for text in (one, other))
    assert (safe_name(first) == safe_name(second)) == (first == second)


def test_nothing_of_a_message_is_ever_unpacked() -> None:
    """No module imports what could: a few octets cannot become gigabytes. ``crc32`` of zlib is a sum and no more."""
    unpacking = {"zlib", "gzip", "bz2", "lzma", "zipfile", "tarfile", "shutil.unpack_archive", "brotli", "zstandard"}
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found.setdefault(str(path), set()).update(alias.name for alias in node.names if alias.name in unpacking)
            elif isinstance(node, ast.ImportFrom) and node.module in unpacking:
                assert [alias.name for alias in node.names] == ["crc32"], path
    for name, modules in found.items():
        if modules:
            assert modules == {"zlib"}, name
            assert set(re.findall(r"\bzlib\.(\w+)", Path(name).read_text())) == {"crc32"}, name
