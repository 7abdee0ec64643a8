"""Misbehaviour before the content: connecting, banner, EHLO, and the envelope's commands."""

from __future__ import annotations

from .misbehaviour import ANY, BOUNCED, DEFERRED, DELIVERED, NOT_DELIVERED, UNCERTAIN, Behaviour, Mail, behaviour
from .script import (
    BASE_EXTENSIONS,
    At,
    Close,
    Connect,
    Face,
    Flood,
    Forget,
    Greylist,
    Never,
    Phase,
    Reset,
    Say,
    Script,
    Usual,
    Wait,
    reply,
)

UNAVAILABLE = (*reply("421 4.3.2 Shutting down"), Close())
HELLO = b"220 remote.example ESMTP\r\n"

CONNECTING = [
    Behaviour("connection-refused", Script(connect=Connect.REFUSE), (DEFERRED,)),
    Behaviour("connection-never-answered", Script(connect=Connect.IGNORE), (DEFERRED,), times_out=True),
    behaviour("banner-closed", {Phase.BANNER: [Close()]}, DEFERRED),
    behaviour("banner-reset", {Phase.BANNER: [Reset()]}, DEFERRED),
    behaviour("banner-never", {Phase.BANNER: [Never()]}, DEFERRED, times_out=True),
    behaviour("banner-half-then-silence", {Phase.BANNER: [Say(b"220 rem"), Never()]}, DEFERRED, times_out=True),
    behaviour("banner-drips-for-ever", {Phase.BANNER: [Say(b"220-" + b"x" * 4000, every=0.02)]}, DEFERRED, times_out=True),
    behaviour("banner-drips-and-ends", {Phase.BANNER: [Say(HELLO, every=0.003)]}, DELIVERED),
    behaviour("banner-421", {Phase.BANNER: UNAVAILABLE}, DEFERRED),
    behaviour("banner-450", {Phase.BANNER: reply("450 4.3.2 Not now")}, DEFERRED),
    behaviour("banner-554", {Phase.BANNER: reply("554 5.3.2 No mail here")}, NOT_DELIVERED),
    behaviour("banner-250", {Phase.BANNER: reply("250 hello")}, DEFERRED | DELIVERED),
    behaviour("banner-is-http", {Phase.BANNER: [Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Close()]}, DEFERRED),
    behaviour("banner-is-noise", {Phase.BANNER: [Say(bytes(range(256)) * 8), Close()]}, DEFERRED),
    behaviour("banner-of-many-lines", {Phase.BANNER: reply("220 " + "welcome\n" * 30 + "remote.example")}, DELIVERED),
    behaviour("banner-of-endless-lines", {Phase.BANNER: [Flood(b"220-remote.example\r\n")]}, DEFERRED),
    behaviour("banner-is-one-endless-line", {Phase.BANNER: [Flood(b"220 remote.example ")]}, DEFERRED),
    behaviour("banner-not-ascii", {Phase.BANNER: [Say(b"220 remote.example caf\xe9 \xf0\x9f\x93\xa7\r\n")]}, DELIVERED),
    behaviour("banner-ends-with-a-bare-lf", {Phase.BANNER: [Say(HELLO.replace(b"\r", b""))]}, DELIVERED | DEFERRED),
    behaviour("banner-twice", {Phase.BANNER: [Say(HELLO + HELLO)]}, DELIVERED | DEFERRED),
    behaviour("banner-and-hello-at-once", {Phase.BANNER: [Say(HELLO + b"250 remote.example\r\n", 220)]}, DELIVERED | DEFERRED),
]

BARE = Face(extensions=())
UNPREDICTED = Face(extensions=("X-STRANGE with = signs", "size", "8bitmime", "  ", "PIPELINING  ", "DSN 1 2 3", "=", "SIZE many"))
HELLOS = [
    behaviour("ehlo-502-helo-good", {Phase.EHLO: reply("502 5.5.1 What?")}, DELIVERED),
    behaviour("ehlo-500-helo-500", {Phase.EHLO: reply("500 What?"), Phase.HELO: reply("500 What?")}, NOT_DELIVERED),
    behaviour("ehlo-550-helo-550", {Phase.EHLO: reply("550 5.7.1 No"), Phase.HELO: reply("550 5.7.1 No")}, NOT_DELIVERED),
    behaviour("ehlo-421", {Phase.EHLO: UNAVAILABLE}, DEFERRED),
    behaviour("ehlo-closed", {Phase.EHLO: [Close()]}, DEFERRED),
    behaviour("ehlo-reset", {Phase.EHLO: [Reset()]}, DEFERRED),
    behaviour("ehlo-never", {Phase.EHLO: [Never()]}, DEFERRED, times_out=True),
    behaviour("ehlo-half-of-its-lines", {Phase.EHLO: [Say(b"250-remote.example\r\n250-SIZE\r\n"), Close()]}, DEFERRED),
    behaviour("ehlo-of-2000-lines", {}, DELIVERED | DEFERRED, face=Face(extensions=tuple(f"X{n} x" for n in range(2000)))),
    behaviour("ehlo-of-endless-lines", {Phase.EHLO: [Flood(b"250-X-AGAIN\r\n")]}, DEFERRED),
    behaviour("ehlo-codes-differ", {Phase.EHLO: [Say(b"250-remote.example\r\n550 5.5.1 No\r\n", 250)]}, ANY),
    behaviour("ehlo-strange-extensions", {}, DELIVERED, face=UNPREDICTED),
    behaviour("ehlo-without-extensions", {}, DELIVERED, face=BARE),
    behaviour("ehlo-without-any-text", {Phase.EHLO: [Say(b"250\r\n")]}, DELIVERED),
    behaviour("ehlo-with-a-nul", {Phase.EHLO: [Say(b"250-remote.example\r\n250 DS\0N\r\n")]}, DELIVERED | DEFERRED),
]

FULL = "452 4.5.3 Too many recipients"
WIDE = reply("550 5.1.1 " + "\n".join("no such user, see our policy " + "x" * 400 for _ in range(90)))
CONTROL = (Say(b"550 5.1.1 \x1b[2J\x1b]0;owned\x07 no\x00such\x9b31m user \x7f\r\n"),)
ENVELOPE = [
    behaviour("mail-450", {Phase.MAIL: reply("450 4.7.1 Later")}, DEFERRED),
    behaviour("mail-452-full", {Phase.MAIL: reply("452 4.3.1 Disk full")}, DEFERRED),
    behaviour("mail-501", {Phase.MAIL: reply("501 5.1.7 Bad sender")}, BOUNCED),
    behaviour("mail-550", {Phase.MAIL: reply("550 5.7.1 Not from you")}, BOUNCED, BOUNCED),
    behaviour("mail-421", {Phase.MAIL: UNAVAILABLE}, DEFERRED),
    behaviour("mail-closed", {Phase.MAIL: [Close()]}, DEFERRED),
    behaviour("mail-reset", {Phase.MAIL: [Reset()]}, DEFERRED),
    behaviour("mail-never", {Phase.MAIL: [Never()]}, DEFERRED, times_out=True),
    behaviour("mail-garbage", {Phase.MAIL: [Say(b"??? \xff\xfe\r\n"), Close()]}, DEFERRED),
    behaviour("mail-code-of-four-digits", {Phase.MAIL: [Say(b"2500 ok\r\n"), Close()]}, DEFERRED),
    behaviour("mail-code-zero", {Phase.MAIL: [Say(b"050 ok\r\n"), Close()]}, DEFERRED),
    behaviour("mail-354", {Phase.MAIL: [*reply("354 go ahead"), Close()]}, NOT_DELIVERED),
    behaviour("mail-forgets-what-was-pipelined", {Phase.MAIL: [Forget(), Usual()]}, DEFERRED | DELIVERED, times_out=True),
    behaviour("rcpt-550-one-of-three", {At(Phase.RCPT, 2): reply("550 5.1.1 No such user")}, DELIVERED, BOUNCED, DELIVERED),
    behaviour("rcpt-450-one-of-three", {At(Phase.RCPT, 2): reply("450 4.2.0 Busy")}, DELIVERED, DEFERRED, DELIVERED),
    behaviour("rcpt-550-all", {Phase.RCPT: reply("550 5.1.1 No such user")}, BOUNCED, BOUNCED, BOUNCED),
    behaviour("rcpt-450-all", {Phase.RCPT: reply("450 4.2.0 Busy")}, DEFERRED, DEFERRED, DEFERRED),
    behaviour(
        "rcpt-accepts-one-of-three",
        {At(Phase.RCPT, 1): reply("550 5.1.1 No"), At(Phase.RCPT, 3): reply("451 4.3.0 Later")},
        *(BOUNCED, DELIVERED, DEFERRED),
    ),
    # The client may send what is left over in a further transaction at once, where RCPT 3 is RCPT 1.
    behaviour("rcpt-452-after-two", {At(Phase.RCPT, 3): reply(FULL)}, DELIVERED, DELIVERED, DEFERRED | DELIVERED),
    # RFC 5321 §4.5.3.1.10: "the client SHOULD treat a 552 response in this case as a temporary, rather than permanent, failure".
    behaviour("rcpt-552-after-two", {At(Phase.RCPT, 3): reply("552 Too many recipients")}, DELIVERED, DELIVERED, ANY & ~UNCERTAIN),
    behaviour("rcpt-251", {Phase.RCPT: reply("251 2.1.5 Will forward")}, DELIVERED),
    behaviour("rcpt-299", {Phase.RCPT: reply("299 whatever that is")}, DELIVERED),
    behaviour("rcpt-599", {Phase.RCPT: reply("599 whatever that is")}, BOUNCED),
    behaviour("rcpt-499", {Phase.RCPT: reply("499 whatever that is")}, DEFERRED),
    behaviour("rcpt-enhanced-code-contradicts", {Phase.RCPT: reply("550 2.1.5 Fine")}, BOUNCED),
    behaviour("rcpt-550-of-90-lines", {Phase.RCPT: WIDE}, BOUNCED | DEFERRED),
    behaviour("rcpt-550-with-control-characters", {Phase.RCPT: CONTROL}, BOUNCED),
    behaviour("rcpt-354", {Phase.RCPT: [*reply("354 go ahead"), Close()]}, NOT_DELIVERED),
    behaviour("rcpt-garbage", {Phase.RCPT: [Say(b"\r\n\r\nok\r\n"), Close()]}, DEFERRED),
    behaviour("rcpt-421-at-second", {At(Phase.RCPT, 2): UNAVAILABLE}, DEFERRED, DEFERRED, DEFERRED),
    behaviour("rcpt-closed-at-second", {At(Phase.RCPT, 2): [Close()]}, DEFERRED, DEFERRED),
    behaviour("rcpt-reset-after-550", {At(Phase.RCPT, 2): [*reply("550 5.1.1 No"), Wait(0.05), Reset()]}, DEFERRED, NOT_DELIVERED),
    behaviour("rcpt-never", {Phase.RCPT: [Never()]}, DEFERRED, times_out=True),
    behaviour("rcpt-slow", {Phase.RCPT: [Wait(0.1), Usual()]}, DELIVERED, DELIVERED),
    behaviour("rcpt-one-endless-line", {Phase.RCPT: [Flood(b"550 no ")]}, NOT_DELIVERED),
    # What was not asked must not be taken for the answer to what comes next: the real reply to RCPT is 550.
    behaviour("mail-answered-twice", {Phase.MAIL: [Say(b"250 ok\r\n250 ok\r\n")], Phase.RCPT: reply("550 5.1.1 No")}, NOT_DELIVERED),
    behaviour("no-pipelining", {}, DELIVERED, DELIVERED, face=Face(extensions=BASE_EXTENSIONS[1:])),
    Behaviour("greylisted", Script({Phase.RCPT: [Greylist()]}), (DEFERRED,), later=(DELIVERED,)),
    Behaviour("reset-at-first-connection", Script({At(Phase.BANNER, 0, 1): [Reset()]}), (DEFERRED,), later=(DELIVERED,)),
    Behaviour("size-too-small", Script(face=Face(extensions=("SIZE 1000",))), (BOUNCED,), mail=Mail(size=5000)),
    Behaviour("mail-552-too-big", Script({Phase.MAIL: reply("552 5.3.4 Too big")}), (BOUNCED,), mail=Mail(size=5000)),
    # RFC 6152 §3: without 8BITMIME the client converts to a 7-bit encoding or gives the message back.
    Behaviour("no-8bitmime", Script(face=BARE), (DELIVERED | BOUNCED,), True, Mail(text="caf\u00e9")),
    # RFC 6531 §3.2 leaves no way but to give it back.
    Behaviour("no-smtputf8", Script(face=BARE), (BOUNCED,), mail=Mail(sender="caf\u00e9@client.example")),
]
