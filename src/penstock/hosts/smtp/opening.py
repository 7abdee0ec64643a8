"""The first octets of a connection from a balancer: its PROXY header, before anything of the session.

Nothing is counted, logged or asked by the address that such a connection comes from, since it is nobody's: that waits until the header has
said whose it is. A connection without the header is not served at all; a balancer that forgets it would make all its clients one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import RemoteProtocolError
from ...wire.proxy import ProxyReader

if TYPE_CHECKING:
    from .connection import Connection


class Opening:
    """What comes before a session.

    Args:
        connection: that it is of.
        peer: the balancer's address and port.
    """

    __slots__ = ("_connection", "_peer", "_reader")

    def __init__(self, connection: Connection, peer: tuple[str, int]) -> None:
        self._connection = connection
        self._peer = peer
        self._reader = ProxyReader()

    def receive(self, data: bytes) -> None:
        """Octets came; when the header is complete, the session begins with what is behind it."""
        try:
            said = self._reader.receive(data)
        except RemoteProtocolError as error:
            self.fail(str(error))
            return
        if said is not None:
            # "LOCAL" and "UNKNOWN": the balancer itself is the client, say to see whether we live.
            self._connection.open(said.client or self._peer, self._reader.rest)

    def fail(self, why: str) -> None:
        """There will be no session: nothing is said, since whoever is there does not speak SMTP yet."""
        host, port = self._peer
        log = self._connection.host.services.log
        log.warning("connection without a PROXY header", client=host, port=port, listener=self._connection.settings.name, reason=why)
        self._connection.abort()
