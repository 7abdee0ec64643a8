"""The extensions that ask for a special treatment of one message: rows like those of ``extension``, apart for the length of the file.

What they promise is kept elsewhere: by the queue (DELIVERBY, FUTURERELEASE, MT-PRIORITY) and by delivery (REQUIRETLS, BINARYMIME).
"""

from __future__ import annotations

import re

from ...errors import RemoteProtocolError
from ...mail.envelope import MailParameters
from .extension import Extension, bad_value
from .limits import Limits

# by-value = by-time ";" by-mode [by-trace]; by-time = ["-" / "+"] 1*9DIGIT; by-mode = "N" / "R"; by-trace = "T" (RFC 2852 §4).
_BY = re.compile(r"([+-]?[0-9]{1,9});([NR])(T?)", re.IGNORECASE)
# future-release-interval = *9DIGIT (RFC 4865 §5); date-time of RFC 3339, with the "Z" that §4 demands.
_HOLDFOR = re.compile(r"[0-9]{1,9}")
_HOLDUNTIL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z", re.IGNORECASE)
# priority-value = (["-"] NZDIGIT) / "0" (RFC 6710 §6).
_PRIORITY = re.compile(r"-?[1-9]|0")
# Solicitation-keywords = word 0*("," word), each of letters, digits, ".", "-", "_", ":" (RFC 3865 §2.2 and §3).
_SOLICIT = re.compile(r"[A-Za-z][A-Za-z0-9.:_-]{0,255}(?:,[A-Za-z][A-Za-z0-9.:_-]{0,255}){0,31}")


def _binary(parameters: MailParameters, value: str, limits: Limits) -> None:
    parameters.body = value.upper()
    if parameters.body not in ("7BIT", "8BITMIME", "BINARYMIME"):
        raise bad_value("BODY")


def _requiretls(parameters: MailParameters, value: str, limits: Limits) -> None:
    # RFC 8689 §2: "the keyword has no parameters".
    if value:
        raise bad_value("REQUIRETLS")
    parameters.requiretls = True


def _by(parameters: MailParameters, value: str, limits: Limits) -> None:
    match = _BY.fullmatch(value)
    if not match:
        raise bad_value("BY")
    seconds, mode = int(match[1]), match[2].upper()
    # RFC 2852 §4: for by-mode "R" "the by-time ... MUST be greater than zero".
    if mode == "R" and seconds <= 0:
        raise bad_value("BY")
    if mode == "R" and seconds < limits.deliver_by:
        raise RemoteProtocolError("BY below the minimum", 554, "5.4.7", "It cannot be delivered that soon")
    parameters.by, parameters.by_mode, parameters.by_trace = seconds, mode, bool(match[3])


def _hold_for(parameters: MailParameters, value: str, limits: Limits) -> None:
    # RFC 4865 §4: both together are an error, and so is more than the maximum: 501.
    if not _HOLDFOR.fullmatch(value) or parameters.hold_until or int(value) > limits.future_release:
        raise bad_value("HOLDFOR")
    parameters.hold_for = int(value)


def _hold_until(parameters: MailParameters, value: str, limits: Limits) -> None:
    if not _HOLDUNTIL.fullmatch(value) or parameters.hold_for is not None:
        raise bad_value("HOLDUNTIL")
    parameters.hold_until = value.upper()


def _priority(parameters: MailParameters, value: str, limits: Limits) -> None:
    if not _PRIORITY.fullmatch(value):
        raise bad_value("MT-PRIORITY")
    parameters.priority = int(value)


def _solicit(parameters: MailParameters, value: str, limits: Limits) -> None:
    if not _SOLICIT.fullmatch(value):
        raise bad_value("SOLICIT")
    parameters.solicit = frozenset(value.lower().split(","))
    if parameters.solicit & limits.no_soliciting:
        # RFC 3865 §2.5.
        raise RemoteProtocolError("solicitation", 550, "5.7.1", "Solicitations of this class are not accepted here")


def _future_release(limits: Limits) -> str | None:
    return str(limits.future_release) if limits.future_release else None


MESSAGES = (
    Extension("BINARYMIME", mail={"BODY": _binary}),  # RFC 3030 §3
    Extension("REQUIRETLS", mail={"REQUIRETLS": _requiretls}, needs_tls=True),  # RFC 8689
    Extension("DELIVERBY", lambda limits: str(limits.deliver_by or ""), mail={"BY": _by}),  # RFC 2852
    Extension("MT-PRIORITY", mail={"MT-PRIORITY": _priority}),  # RFC 6710
    Extension("NO-SOLICITING", lambda limits: ",".join(sorted(limits.no_soliciting)), mail={"SOLICIT": _solicit}),  # RFC 3865
)
# For our own users alone: mail of strangers that stays here for days would be a store of theirs (RFC 4865 §4.2, §7).
SUBMISSION = (Extension("FUTURERELEASE", _future_release, mail={"HOLDFOR": _hold_for, "HOLDUNTIL": _hold_until}),)  # RFC 4865
