"""Names within messages that commas divide (RFC 5802 §5.1): "=2C" and "=3D" stand for "," and "="."""

from __future__ import annotations

import re

from ...errors import SaslError

_WELL_FORMED = re.compile(r"(?:[^=,\x00]|=2C|=3D)*")


def escaped(text: str) -> str:
    """A name as it stands in a message."""
    return text.replace("=", "=3D").replace(",", "=2C")


def unescaped(text: str) -> str:
    """A name as it is.

    Raises: SaslError: "If the server receives a username that contains '=' not followed by either '2C' or '3D', then the server MUST fail".
    """
    if not _WELL_FORMED.fullmatch(text):
        raise SaslError("a name is not escaped as it should be")
    return text.replace("=2C", ",").replace("=3D", "=")
