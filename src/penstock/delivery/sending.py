"""Content on its way out: small content leaves in one write with its end, large content piece by piece as the server takes it."""

from __future__ import annotations

import asyncio

from ..mail.content import CHUNK
from ..wire.smtp.outgoing import Bdat
from .exchange import Exchange
from .parcel import Parcel


async def send_content(session: Exchange, parcel: Parcel, chunked: bool) -> None:
    """Sends a content after a 354, or as one BDAT; the answer is still to come.

    Args:
        session: where to.
        parcel: what.
        chunked: as BDAT (RFC 3030).

    Raises: StorageDamaged, OSError when the content cannot be read: the connection must be given up then. LocalProtocolError.
    """
    machine = session.machine
    if chunked:
        # One chunk: more of them would only be told apart by a server that refuses one, which it can do in the middle of this one too.
        machine.send(Bdat(parcel.content.size, last=True))
    else:
        machine.begin_content()
    if parcel.data is not None:
        if parcel.data:
            machine.content(parcel.data)
    elif not await _send_pieces(session, parcel):
        return
    if not chunked:
        machine.end_content()


def send_nothing(session: Exchange) -> None:
    """The lone dot after a 354 that came though no recipient was accepted (RFC 2920 §3.1)."""
    session.machine.begin_content()
    session.machine.end_content()


async def _send_pieces(session: Exchange, parcel: Parcel) -> bool:
    """Sends a large content; False when the server ended it."""
    content, machine, offset = parcel.content, session.machine, 0
    while offset < content.size:
        piece = content.read(offset, CHUNK) if content.in_memory else await asyncio.to_thread(content.read, offset, CHUNK)
        if machine.is_closed:
            return False
        if not piece:
            raise OSError(f"the content ends after {offset} of {content.size} octets")
        machine.content(piece)
        offset += len(piece)
        if not await _flows(session):
            return False
    return True


async def _flows(session: Exchange) -> bool:
    """Waits until the kernel has it all; False when the server ended the content, by a reply or by closing."""
    while not await session.connection.taken():
        if session.machine.is_closed and session.connection.event() is None:
            return False
        await session.step_if_any()
        if session.over or session.machine.is_closed:
            return False
    return True
