"""What a server machine is told once and shares with all its sessions, and the replies that it makes itself.

The table of commands, the lines of the EHLO reply and what they offer are worked out here, once for each listener and not once for each
connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...mail.reply import Reply
from .command import Command, table_with
from .content import BareNewlines
from .extension import STANDARD, Extension
from .extension_message import MESSAGES
from .happening import Auth, ContentEnd, Expn, Mail, Noop, Question, Quit, Rcpt, Reset, Verb, Vrfy
from .limits import Limits
from .served import Served, serve_both
from .state import State

OK = Reply(250, "2.0.0", "Ok")
SENDER_OK = Reply(250, "2.1.0", "Sender ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient ok")
# RFC 2034 §4: 3xx replies carry no enhanced code, as class 3 does not exist.
START_INPUT = Reply(354, "", "End data with <CRLF>.<CRLF>")
# draft-hall-prdr-00 §4.5: after this a reply for each recipient follows, and one for all.
CONTENT_ANALYSIS = Reply(353, "", "Content analysis has begun")
# RFC 5321 §7.3: a site that disables VRFY or EXPN "MUST return a 252 response".
CANNOT_VERIFY = Reply(252, "2.0.0", "Cannot verify, but will accept mail and try to deliver it")
# RFC 3207 §4; with a code of its own, as "220 2.0.0 Ready to start TLS" of others.
READY_FOR_TLS = Reply(220, "2.0.0", "Ready to start TLS")
AUTHENTICATED = Reply(235, "2.7.0", "Authentication successful")
BYE = Reply(221, "2.0.0", "Bye")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing the connection")
NOT_SMTP = Reply(421, "4.7.0", "This is SMTP, closing the connection")

# What accepting a question says by default, and where it leads (None: nowhere). Greeting, DataStart and HELP say more than a table can.
EFFECTS: dict[type[Question], tuple[Reply, State | None]] = {
    Mail: (SENDER_OK, State.MAIL),
    Rcpt: (RECIPIENT_OK, State.RCPT),
    ContentEnd: (OK, State.READY),
    Reset: (OK, State.READY),
    Noop: (OK, None),
    Vrfy: (CANNOT_VERIFY, None),
    Expn: (CANNOT_VERIFY, None),
    Quit: (BYE, State.CLOSED),
    Verb: (OK, None),
    Auth: (AUTHENTICATED, None),
}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How the sessions of one listener behave.

    Args:
        hostname: our name, in the replies to EHLO and HELO.
        limits: what a session may cost.
        extensions: the rows to offer.
        verbs: further verbs that become ``Verb`` questions.
        bare_newlines: what a bare CR or LF in content means.
        mechanisms: of AUTH, in upper case; without any, AUTH is not offered.
        starttls: TLS can be had by STARTTLS (RFC 3207).
        tls_required: without TLS nothing is served but what leads to it.
        auth_in_clear: AUTH is served without TLS, too.
        without: keywords of EHLO, in upper case, that are not offered.
        lmtp: this is LMTP (RFC 2033): LHLO greets, and the content is answered once for each recipient.
    """

    hostname: str
    limits: Limits = field(default=Limits())
    extensions: tuple[Extension, ...] = (*STANDARD, *MESSAGES)
    verbs: frozenset[str] = frozenset()
    bare_newlines: BareNewlines = "refuse"
    mechanisms: tuple[str, ...] = ()
    starttls: bool = False
    tls_required: bool = False
    auth_in_clear: bool = True
    lmtp: bool = False
    without: frozenset[str] = frozenset()
    table: dict[str, Command] = field(init=False, repr=False, compare=False)
    in_clear: Served = field(init=False, repr=False, compare=False)
    secured: Served = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # PRDR gives SMTP what LMTP has anyway.
        rows = [row for row in self.extensions if not (self.lmtp and row.keyword == "PRDR") and row.keyword not in self.without]
        lines = tuple(line for row in rows if (line := row.line(self.limits)) is not None)
        auth = f"AUTH {' '.join(self.mechanisms)}" if self.mechanisms else ""
        object.__setattr__(self, "table", table_with(self.verbs, bool(self.mechanisms), self.lmtp))
        policy = (self.starttls, self.tls_required, self.auth_in_clear)
        in_clear, secured = serve_both(self.table, rows, lines, policy, auth)
        object.__setattr__(self, "in_clear", in_clear)
        object.__setattr__(self, "secured", secured)

    def help(self) -> Reply:
        """The default answer to HELP: the verbs that there are."""
        return Reply(214, "2.0.0", "Commands: " + " ".join(sorted(self.table)))
