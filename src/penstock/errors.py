"""Every exception that Penstock raises, in one public module, so that a caller can catch what it means to.

    PenstockError
    ├── ConfigError            the configuration cannot be used: where, what is wrong, what to do
    ├── AddressError           a mail address does not parse (also a ValueError)
    ├── HeaderError            a header field cannot be written as asked (also a ValueError)
    ├── FrozenError            a sink tried to change what it may only look at
    ├── SinkError              a sink failed, or answered what its event does not admit
    │   └── SinkTimeout        a sink did not answer before its deadline
    ├── ClientGone             the client went away in the middle of a dialogue (also a ConnectionError)
    ├── ProtocolError
    │   ├── LocalProtocolError     our side used a protocol machine wrongly
    │   └── RemoteProtocolError    the other side broke the protocol; carries the reply it deserves
    ├── SaslError              the other side of an authentication exchange broke its rules
    └── StorageError
        ├── StorageUnavailable   nothing can be written now; what was asked did not happen; try again later
        │   └── StorageFull      ... because there is no room
        ├── StorageDamaged       stored bytes do not match their checksum; they were set aside
        ├── SpoolDamaged         the spool as a whole cannot go on; a new start repairs it
        └── StorageLocked        another process works on this spool

Data is in attributes, text in ``__str__``. None of these texts is ever sent to a mail client.
"""

from __future__ import annotations


class PenstockError(Exception):
    """The root of all exceptions raised by Penstock."""


class ConfigError(PenstockError):
    """The configuration cannot be used.

    Args:
        where: the file and the key, as the administrator would look for it, e.g. ``penstock.toml: binding.archive.priority``.
        what: what is wrong, in one line.
        hint: what to do, in one line; may be empty.
    """

    def __init__(self, where: str, what: str, hint: str = "") -> None:
        super().__init__(where, what, hint)
        self.where = where
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"\n  {self.hint}" if self.hint else "")


class AddressError(PenstockError, ValueError):
    """A mail address does not parse, with the reason (RFC 5321 §4.1.2)."""


class HeaderError(PenstockError, ValueError):
    """A header field cannot be written as asked (RFC 5322 §2.2)."""


class FrozenError(PenstockError):
    """A sink tried to change something that its event only shows."""


class SinkError(PenstockError):
    """A sink failed or answered what its event does not admit.

    Args:
        binding: the name of the binding whose sink it was.
        what: what happened, in one line; for the log, never for a client.
    """

    def __init__(self, binding: str, what: str) -> None:
        super().__init__(binding, what)
        self.binding = binding
        self.what = what

    def __str__(self) -> str:
        return f"binding {self.binding!r}: {self.what}"


class SinkTimeout(SinkError):
    """A sink did not answer before its deadline."""


class ClientGone(PenstockError, ConnectionError):
    """The client went away, or broke the protocol, while a handler waited for its next line; no fault of the sink's."""


class ProtocolError(PenstockError):
    """A protocol was broken; the subclass says by whom."""


class LocalProtocolError(ProtocolError):
    """Our own code asked a protocol machine for something that its state does not allow."""


class RemoteProtocolError(ProtocolError):
    """The other side broke the protocol.

    Args:
        what: what it did, for the log.
        code: the reply code that it deserves, e.g. 501.
        enhanced: the enhanced status code that goes with it, e.g. "5.5.4" (RFC 3463).
        text: the reply text, safe to send.
    """

    def __init__(self, what: str, code: int = 500, enhanced: str = "5.5.2", text: str = "Syntax error") -> None:
        super().__init__(what, code, enhanced, text)
        self.what = what
        self.code = code
        self.enhanced = enhanced
        self.text = text

    def __str__(self) -> str:
        return self.what


class SaslError(PenstockError):
    """The other side of an authentication exchange broke its rules, or could not prove who it is."""


class StorageError(PenstockError):
    """The spool could not do what was asked."""


class StorageUnavailable(StorageError):
    """Nothing can be written now: what was asked did not happen, and may be tried again later."""


class StorageFull(StorageUnavailable):
    """There is no room left for what was asked; nothing of it was kept."""


class StorageDamaged(StorageError):
    """Stored bytes do not match their checksum; they were set aside under the name given, never deleted.

    Args:
        what: what is damaged, with file and position.
        kept_as: the path of the set-aside copy, or "" when it stays where it is.
    """

    def __init__(self, what: str, kept_as: str = "") -> None:
        super().__init__(what, kept_as)
        self.what = what
        self.kept_as = kept_as

    def __str__(self) -> str:
        return self.what + (f" (set aside as {self.kept_as})" if self.kept_as else "")


class SpoolDamaged(StorageError):
    """The spool as a whole cannot go on; a new start repairs it. It says nothing about the message that was asked for."""


class StorageLocked(StorageError):
    """Another process works on this spool."""
