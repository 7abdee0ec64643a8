"""What is captured, how much of it, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..events.rule import Match
from .redact import Redaction


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """How a worker captures.

    Args:
        path: the file; only its own worker writes to it.
        match: conditions that one of a session's commands must meet; None for all sessions.
        redaction: what is taken out.
        size: octets that the file may have; then nothing more is captured until it is moved away.
        content: octets of a message's content that are kept; of the rest only how many there were.
        session: octets that one session may hold while it lasts; what follows is not kept.
        under_way: octets that all sessions may hold together while they last; beyond it no session is begun.
        until: seconds since 1970 after which nothing more is captured; 0 for never.
    """

    path: Path
    match: Match | None = None
    redaction: Redaction = field(default_factory=Redaction)
    size: int = 100 * 1024 * 1024
    content: int = 1024 * 1024
    session: int = 4 * 1024 * 1024
    under_way: int = 64 * 1024 * 1024
    until: float = 0.0
