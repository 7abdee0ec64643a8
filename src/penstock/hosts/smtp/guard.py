"""What one client, network, user or sender may do in a time, counted for a whole worker; and clients that talk before it is their turn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """How a listener protects itself.

    Args:
        banner_delay: seconds to wait with the banner; who speaks before it is an early talker.
    """

    banner_delay: float = 0.0
