"""A Postfix and a Penstock that are configured as much alike as they can be: one domain, the same limits, nothing delivered."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from support.postfix import Postfix
from support.server import Server

# As Penstock: paths in angle brackets, EHLO first, content with bare LF refused, no relaying. Errors neither slow nor end a session here,
# so that every command is answered.
POSTFIX = """\
virtual_mailbox_domains = example.com
virtual_transport = discard:
smtpd_relay_restrictions =
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_helo_required = yes
strict_rfc821_envelopes = yes
smtpd_forbid_bare_newline = reject
smtpd_forbid_bare_newline_exclusions =
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
smtpd_junk_command_limit = 1000
smtpd_recipient_limit = 5
message_size_limit = 20000
mynetworks = 192.0.2.99
smtpd_delay_reject = no
smtpd_reject_unlisted_recipient = no
smtpd_banner = peer.example ESMTP
smtpd_forbidden_commands =
relay_domains_reject_code = 550
access_map_reject_code = 550
allow_percent_hack = no
swap_bangpath = no
"""
PENSTOCK = """
[limits]
errors = 0
message_size = 20000
recipients = 5
connections_per_client = 1000
unknown_recipients = 0

[[binding]]
name = "nowhere"
sink = "penstock.sinks:Discard"
"""


@contextlib.contextmanager
def both(folder: Path) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    """The addresses of Postfix and of Penstock."""
    with Postfix(POSTFIX) as postfix, Server(folder / "penstock", more=PENSTOCK) as penstock:
        yield postfix.address, penstock.address
