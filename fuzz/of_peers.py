"""Targets for what peers say that are not mail: sink processes, directories, whoever opens the control socket."""

from __future__ import annotations

import msgspec

from penstock.admin.protocol import MAX_LINE, ControlError, decode_answer, decode_data, decode_question, encode
from penstock.isolation import values
from penstock.isolation.frames import ToChild, ToServer
from penstock.sinks import ldapmessages as ldap

from .reading import Reader

_TO_SERVER: msgspec.msgpack.Decoder[ToServer] = msgspec.msgpack.Decoder(ToServer)
_TO_CHILD: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
_NO_FRAME = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


def frames(data: bytes) -> None:
    """A frame of a sink process: of its type and encodes to itself, or one of the errors that end the process."""
    for decoder in (_TO_SERVER, _TO_CHILD):
        try:
            frame = decoder.decode(data)
        except _NO_FRAME:
            continue
        again = msgspec.msgpack.encode(frame)
        assert msgspec.msgpack.encode(decoder.decode(again)) == again


def shared_values(data: bytes) -> None:
    """A value of a sink process: one that can be sent back, or a ValueError or TypeError."""
    try:
        value = values.decode(data)
    except (ValueError, TypeError):
        return
    try:
        again = values.encode(value)
    except (TypeError, ValueError):
        return
    values.decode(again)


def ldap_answers(data: bytes) -> None:
    """What a directory says: a response, or NotLdap; and lengths are known from the beginning of a message on."""
    try:
        size = ldap.length_of(data)
        if size is not None:
            assert 2 <= size <= 6 + 2**32
        response = ldap.read(data)
    except ldap.NotLdap:
        return
    for read in (ldap.result, ldap.entry):
        try:
            read(response.content)
        except ldap.NotLdap:
            continue


def ldap_filter(data: bytes) -> None:
    """A filter of the configuration is encoded, or a ValueError; a value that is looked up never changes what is asked."""
    read = Reader(data)
    text, attribute, value = read.text(200), "mail", read.rest.decode("utf-8", "replace")
    try:
        ldap.parse_filter(text)
    except ValueError:
        pass
    asked = ldap.equal(attribute, value)
    tag, content, end = ldap._element(asked, 0)
    assert end == len(asked)
    assert tag == 0xA3
    _, name, position = ldap._element(content, 0)
    _, found, end = ldap._element(content, position)
    assert (name, found, end) == (attribute.encode(), value.encode(), len(content))


def control(data: bytes) -> None:
    """A line on the control socket: a question or answer that encodes to itself, or a ControlError."""
    for decode in (decode_question, decode_answer):
        try:
            line = decode(data)
        except ControlError as error:
            assert len(error.what) < 4 * len(data) + 500
            continue
        assert decode(encode(line)) == line
        assert encode(line).count(b"\n") == 1
    try:
        assert len(decode_data(data)) <= MAX_LINE + len(data)
    except ControlError:
        return


TARGETS = {
    "frames": frames,
    "shared_values": shared_values,
    "ldap_answers": ldap_answers,
    "ldap_filter": ldap_filter,
    "control": control,
}
