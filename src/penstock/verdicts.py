"""The verdicts, where a sink author finds them: ``from penstock.verdicts import Reject``."""

from .events.verdict import (
    Bounce,
    Defer,
    Delay,
    Delivered,
    Discard,
    Disconnect,
    Drop,
    Forward,
    Quarantine,
    Reject,
    Respond,
    Rewrite,
    Verdict,
)

__all__ = [
    "Bounce",
    "Defer",
    "Delay",
    "Delivered",
    "Discard",
    "Disconnect",
    "Drop",
    "Forward",
    "Quarantine",
    "Reject",
    "Respond",
    "Rewrite",
    "Verdict",
]
