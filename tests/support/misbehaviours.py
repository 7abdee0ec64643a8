"""All ways to misbehave, in one catalogue: ``CATALOGUE[name]``; tests are parametrized with ``ALL``."""

from __future__ import annotations

from . import misbehaviours_early, misbehaviours_late
from .misbehaviour import Behaviour

ALL: list[Behaviour] = [
    *misbehaviours_early.CONNECTING,
    *misbehaviours_early.HELLOS,
    *misbehaviours_early.ENVELOPE,
    *misbehaviours_late.DATA,
    *misbehaviours_late.ENDS,
    *misbehaviours_late.TLS,
    *misbehaviours_late.AUTH,
    *misbehaviours_late.LMTP,
]
CATALOGUE: dict[str, Behaviour] = {one.name: one for one in ALL}

# Remotes that reply before they are asked: what a client then sends out of turn is no fault of its own.
OUT_OF_TURN = {
    "banner-twice",
    "banner-and-hello-at-once",
    "mail-answered-twice",
    "end-250-twice",
    "lmtp-too-many-replies",
    "tls-reply-injected",
}
