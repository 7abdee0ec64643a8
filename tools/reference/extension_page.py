"""The page of extensions: which there are, where they are specified, what both of our sides do with them, and what offers them.

Made from the rows of the code and from the words here; a test compares it with what listeners really say in EHLO.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock.wire.smtp.extension import STANDARD
from penstock.wire.smtp.extension_message import MESSAGES, SUBMISSION

NAME = "extensions.md"


class Row(NamedTuple):
    """One extension.

    Args:
        source: its RFC.
        offered: when a listener offers it.
        server: what the server does.
        client: what we do as a client of other servers.
    """

    source: str
    offered: str
    server: str
    client: str


ROWS: dict[str, Row] = {
    "PIPELINING": Row(
        "RFC 2920", "always", "replies of a group leave in one write", "commands are grouped, as far as no sink has to decide between them"
    ),
    "SIZE": Row("RFC 1870", "always; `[limits] message_size`", "refused at MAIL (552)", "declared; what is too large is returned (5.3.4)"),
    "8BITMIME": Row("RFC 6152", "always", "taken", "declared; converted to 7 bits for others"),
    "ENHANCEDSTATUSCODES": Row(
        "RFC 2034", "always", "in every reply but those of greetings and 3xx", "read, also where they were not offered"
    ),
    "DSN": Row(
        "RFC 3461", "always", "RET, ENVID, NOTIFY, ORCPT are kept and acted on", "passed on; who asked for success is told where it ends"
    ),
    "SMTPUTF8": Row(
        "RFC 6531",
        "always",
        "addresses and headers beyond ASCII",
        "used where it is needed; what needs it and cannot have it is returned (5.6.7)",
    ),
    "CHUNKING": Row("RFC 3030", "always", "BDAT", "BDAT, unless `chunking = false`"),
    "BINARYMIME": Row("RFC 3030", "always", "any octets, by BDAT", "passed on; converted for others, or returned (5.6.3)"),
    "LIMITS": Row("RFC 9422", "always", "MAILMAX, RCPTMAX", "MAILMAX, RCPTMAX and RCPTDOMAINMAX are kept"),
    "STARTTLS": Row(
        "RFC 3207",
        "where there is a certificate, unless `tls` says otherwise",
        "see [TLS](../tls.md)",
        "used where it is offered, or demanded by `tls`",
    ),
    "AUTH": Row(
        "RFC 4954",
        "where there is a store of users or a sink for `Credentials` or `Auth`; within TLS",
        "see [users](../auth.md)",
        "the strongest mechanism that both know, where the route has credentials",
    ),
    "REQUIRETLS": Row(
        "RFC 8689", "within TLS", "kept with the message", "only to who promises it, over TLS whose certificate holds (5.7.30)"
    ),
    "DELIVERBY": Row(
        "RFC 2852",
        "always; `[limits] deliver_by`",
        "returned, or the sender told, when its time is over",
        "what is left of the time is said; `R` goes to nobody else (5.3.3)",
    ),
    "MT-PRIORITY": Row("RFC 6710", "always", "of users and our own networks: queues of their own", "passed on"),
    "NO-SOLICITING": Row("RFC 3865", "always", "classes in `no_soliciting` are refused (550)", "passed on"),
    "FUTURERELEASE": Row(
        "RFC 4865", "submission listeners; `[limits] future_release`", "held until its time", "was done here, and is not passed on"
    ),
    "PRDR": Row(
        "draft-hall-prdr-00", "always", "a reply for each recipient after the content", "asked for where a message has several recipients"
    ),
    "ETRN": Row(
        "RFC 1985",
        "to clients in `etrn`",
        "works on the queues of domains of kind `relay`, in all workers",
        "by a sink, with `event.send()`",
    ),
    "ATRN": Row(
        "RFC 2645",
        "on listeners with `atrn`",
        "[turns the connection](../queue.md#fetched-by-the-customer), and delivers what waits for the user's domains",
        "fetches mail from providers in `[fetch]`",
    ),
    "XCLIENT": Row(
        "Postfix, XCLIENT_README",
        "to clients in `xclient`",
        "the session becomes that of the client behind",
        "by a sink, with `event.send()`",
    ),
    "XFORWARD": Row(
        "Postfix, XFORWARD_README", "to clients in `xclient`", "facts for sinks about the next message", "by a sink, with `event.send()`"
    ),
}
BESIDE = {
    "LMTP": 'RFC 2033: listeners with `service = "lmtp"`, TCP or Unix; deliveries and next hops `lmtp:...` ([LMTP](../lmtp.md)).',
    "PROXY": "versions 1 and 2, from balancers in `proxy` ([behind a balancer](../proxy.md)).",
    "Implicit TLS": 'RFC 8314: listeners with `service = "submissions"` or `tls = "implicit"`; next hops on port 465.',
    "BURL": "RFC 4468: not offered, refused with 502.",
    "VRFY, EXPN": "RFC 5321 §3.5: answered with 252, unless a sink says otherwise.",
    "Verbs and mechanisms of your own": "a sink bound with `@on(Verb, verb=...)` or `@on(Auth, mechanism=...)` is offered in EHLO.",
}


def page() -> dict[str, str]:
    """The page, by its path."""
    rows = {row.keyword for row in (*STANDARD, *MESSAGES, *SUBMISSION)}
    missing = rows - ROWS.keys()
    if missing:
        raise SystemExit(f"tools/reference/extension_page.py says nothing of {', '.join(sorted(missing))}")
    lines = [
        "# Extensions of SMTP",
        "",
        "What a listener offers in EHLO, and what Penstock makes of it as a client of other servers. EHLO shows what holds for this",
        "client, on this listener, now. A keyword in `without` of a [listener](settings/listener.md) is neither offered nor taken; a sink",
        "at [`Ehlo`](events/ehlo.md) may change the list.",
        "",
        "| keyword | specified in | offered | as a server | as a client |",
        "| --- | --- | --- | --- | --- |",
        *(f"| `{name}` | {row.source} | {row.offered} | {row.server} | {row.client} |" for name, row in ROWS.items()),
        "",
        "Beside them:",
        "",
        *(f"- **{name}**, {text}" if text[0].isupper() else f"- **{name}**: {text}" for name, text in BESIDE.items()),
        "",
    ]
    return {NAME: "\n".join(lines)}
