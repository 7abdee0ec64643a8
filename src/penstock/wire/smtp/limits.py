"""Every limit of an SMTP session in one place, each with the RFC's minimum and a precedent for the default.

A limit that is scattered is a limit that somebody forgets: what one client can make the machine keep, count or repeat is decided here and
nowhere else. RFC 5321 §4.5.3.1: "every implementation MUST be able to receive objects of at least these sizes".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may cost; 0 means unlimited where it says so.

    Args:
        command_line: octets of a command line with its CRLF. RFC 5321 §4.5.3.1.4 asks for 512, and extensions add to it: 26 for SIZE, 17
            for BODY, 10 for SMTPUTF8, some 500 for RCPT with ORCPT (RFC 3461 §4). One limit for all verbs, 2048 as in Postfix
            (line_length_limit), since a limit a verb could only be applied after the verb was read.
        dialogue_line: octets of a line that a verb asked for, with its CRLF. RFC 4954 §4 asks for 12288 in AUTH.
        text_line: octets of a content line with its CRLF, 0 for unlimited. RFC 5321 §4.5.3.1.6 says 1000.
        message_size: octets of content, 0 for unlimited. RFC 5321 §4.5.3.1.7 asks for 64 KiB; 25 MiB is what Gmail takes.
        asks_size: the host decides about content above ``message_size``: the machine offers the limit, and refuses nothing for its size.
        recipients: accepted recipients of one transaction, 0 for unlimited. RFC 5321 §4.5.3.1.8 asks for 100; 1000 as in Postfix.
        transactions: accepted MAIL commands of one session, 0 for unlimited, as Postfix has it.
        errors: commands refused by the machine, since the last accepted message, at which it hangs up; 0 for never. 20 as in Postfix
            (smtpd_hard_error_limit). What a sink refuses is policy and is not counted, and neither are 4xx replies.
        deliver_by: seconds in which nobody can promise to deliver, and that DELIVERBY therefore does not take (RFC 2852 §4); 0 to say none.
        future_release: seconds for which FUTURERELEASE holds mail at most (RFC 4865 §3); 0 for not at all.
        no_soliciting: classes of solicitation, in lower case, that are refused (RFC 3865).

    Source: RFC 5321 §4.5.3.1.
    """

    command_line: int = 2048
    dialogue_line: int = 12288
    text_line: int = 1000
    message_size: int = 25 * 1024 * 1024
    asks_size: bool = False
    recipients: int = 1000
    transactions: int = 0
    errors: int = 20
    deliver_by: int = 0
    future_release: int = 0
    no_soliciting: frozenset[str] = frozenset()
