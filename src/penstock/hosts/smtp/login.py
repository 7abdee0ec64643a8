"""AUTH with the mechanisms that ship: drives a machine of ``wire.sasl``, asks the sinks of ``Credentials``, and slows down who guesses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuthServing:
    """What a listener does with AUTH.

    Args:
        mechanisms: those that ship and are offered, in order of preference.
        required: MAIL is taken from authenticated clients only.
        in_clear: mechanisms may be used without TLS.
    """

    mechanisms: tuple[str, ...] = ()
    required: bool = False
    in_clear: bool = False
