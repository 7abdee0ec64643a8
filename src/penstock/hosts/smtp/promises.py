"""What MAIL may ask of the treatment of a message, as far as it takes a clock, or trust in the client, to say yes to it.

FUTURERELEASE (RFC 4865) is in time, MT-PRIORITY (RFC 6710) is for those whom we trust: a stranger's priority is lowered and he is told so,
since he would send nothing but urgent mail.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ...events import verdict as v
from ...events.dispatch import Outcome
from ...mail.envelope import MailParameters
from ...mail.message import MessageRecord
from ...mail.reply import Reply
from ...wire.smtp import happening as wire
from .trust import within

if TYPE_CHECKING:
    from .session import SmtpSession

# RFC 6710 §4.2 with RFC 3463's X.3.6: "Requested priority was changed".
_LOWERED = Reply(250, "2.3.6", "Sender ok, but the priority was changed to 0")
_TOO_LATE = v.Reject(501, "5.5.4", "Mail is not held for that long")
_SOLICITED = v.Reject(550, "5.7.1", "Solicitations of this class are not accepted here")


def offered_now(lines: list[str], longest: int, now: float) -> list[str]:
    """The lines of EHLO with the date up to which mail is held, which RFC 4865 §3 wants beside the seconds.

    Args:
        lines: as they were worked out beforehand.
        longest: seconds for which mail is held.
        now: seconds since 1970.
    """
    until = datetime.fromtimestamp(int(now) + longest, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [f"{line} {until}" if line.startswith("FUTURERELEASE ") else line for line in lines]


def keep_promises(session: SmtpSession, asked: wire.Mail, record: MessageRecord) -> Reply | Outcome | None:
    """Takes up what MAIL asks for.

    Args:
        session: the session.
        asked: the command.
        record: of the message that begins; what is promised is noted in it.

    Returns: None; or a positive reply that says more than usual; or the refusal.
    """
    parameters = asked.parameters
    if parameters.hold_for is not None or parameters.hold_until:
        release = _release(parameters, record.received)
        if release is None or release > record.received + session.connection.settings.wire.limits.future_release:
            return Outcome(_TOO_LATE, "server")
        record.release = release
    if parameters.priority and not _is_trusted(session):
        parameters.priority = 0
        return _LOWERED
    return None


def refuses_header(session: SmtpSession, solicitation: list[str]) -> Outcome | None:
    """The refusal of a content whose ``Solicitation`` fields name a class that is not accepted here (RFC 3865 §2.3)."""
    refused = session.connection.settings.wire.limits.no_soliciting
    words = {word.strip().lower() for field in solicitation for word in field.split(",")}
    return Outcome(_SOLICITED, "server") if words & refused else None


def _is_trusted(session: SmtpSession) -> bool:
    return bool(session.work.user) or within(session.work.client_ip, session.connection.settings.trust.own)


def _release(parameters: MailParameters, received: float) -> float | None:
    if parameters.hold_for is not None:
        return received + parameters.hold_for
    try:
        return datetime.fromisoformat(parameters.hold_until).timestamp()
    except (ValueError, OverflowError):
        return None
