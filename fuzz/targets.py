"""All targets by name."""

from __future__ import annotations

from collections.abc import Callable

from . import of_files, of_mail, of_peers, of_wire

TARGETS: dict[str, Callable[[bytes], None]] = {**of_mail.TARGETS, **of_wire.TARGETS, **of_files.TARGETS, **of_peers.TARGETS}
