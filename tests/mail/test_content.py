"""Any part of a content can be read, from memory or joined from two."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.mail.content import JoinedContent, MemoryContent, chunks


@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 20), st.integers(0, 50), st.integers(-1, 50))
def test_a_joined_content_reads_like_the_octets_it_stands_for(head: bytes, rest: bytes, skip: int, offset: int, length: int) -> None:
    skip = min(skip, len(rest))
    whole = head + rest[skip:]
    for content in (MemoryContent(whole), JoinedContent(head, MemoryContent(rest), skip)):
        assert content.size == len(whole)
        assert content.in_memory
        assert content.read() == whole
        assert content.read(offset, length) == (whole[offset:] if length < 0 else whole[offset : offset + length])


@given(st.binary(max_size=50), st.integers(1, 60))
def test_chunks_are_the_content_in_order_and_never_too_large(data: bytes, size: int) -> None:
    pieces = list(chunks(MemoryContent(data), size))
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= size for piece in pieces)
