"""Misbehaviour from DATA on, where the question is who has the message; and in TLS, AUTH and LMTP."""

from __future__ import annotations

from collections.abc import Sequence

from .misbehaviour import (
    ANY,
    BOUNCED,
    DEFERRED,
    DELIVERED,
    NOT_DELIVERED,
    UNCERTAIN,
    Behaviour,
    Mail,
    Outcome,
    Security,
    Steps,
    behaviour,
)
from .script import (
    BASE_EXTENSIONS,
    At,
    Close,
    Face,
    Flood,
    Handshake,
    Never,
    Phase,
    Read,
    ReadHello,
    Reset,
    Say,
    Script,
    Step,
    Usual,
    Wait,
    reply,
)

UNAVAILABLE = (*reply("421 4.3.2 Shutting down"), Close())
BIG = Mail(size=400_000)
PLAIN = Face(extensions=tuple(e for e in BASE_EXTENSIONS if e != "CHUNKING"))  # so that a client that can BDAT sends DATA


def content(name: str, steps: Steps, outcome: Outcome, *, times_out: bool = False, window: int = 4096) -> Behaviour:
    """A behaviour while a content is read that is larger than all buffers between."""
    face = Face(extensions=PLAIN.extensions, window=window)
    return Behaviour(name, Script(steps, face), (outcome,), bool(outcome & (DELIVERED | UNCERTAIN)), BIG, times_out=times_out)


REFUSED_ALL: Steps = {Phase.RCPT: reply("550 5.1.1 No such user"), Phase.DATA: reply("354 Go ahead")}
DATA = [
    behaviour("data-550", {Phase.DATA: reply("550 5.7.1 No")}, BOUNCED, BOUNCED, face=PLAIN),
    behaviour("data-451", {Phase.DATA: reply("451 4.3.0 Later")}, DEFERRED, DEFERRED, face=PLAIN),
    behaviour("data-250", {Phase.DATA: [*reply("250 Ok"), Close()]}, NOT_DELIVERED, face=PLAIN),
    behaviour("data-503", {Phase.DATA: reply("503 5.5.1 Bad sequence")}, NOT_DELIVERED, face=PLAIN),
    behaviour("data-421", {Phase.DATA: UNAVAILABLE}, DEFERRED, face=PLAIN),
    behaviour("data-closed", {Phase.DATA: [Close()]}, DEFERRED, face=PLAIN),
    behaviour("data-never", {Phase.DATA: [Never()]}, DEFERRED, times_out=True, face=PLAIN),
    # RFC 2920 §3.1: a client that pipelined DATA after refused recipients may get 354, and must send the dot alone.
    behaviour("data-354-with-no-recipient", REFUSED_ALL, BOUNCED, face=PLAIN),
    # The 250 came before the end of data and answers nothing; the remote takes nothing.
    behaviour(
        "data-354-and-250-at-once",
        {Phase.DATA: [Say(b"354 go\r\n250 taken\r\n", 354), Wait(0.1), Reset()]},
        DEFERRED | UNCERTAIN,
        face=PLAIN,
    ),
    content("content-closed-in-the-middle", {Phase.CONTENT: [Read(20_000), Close()]}, DEFERRED | UNCERTAIN),
    content("content-reset-in-the-middle", {Phase.CONTENT: [Read(20_000), Reset()]}, DEFERRED | UNCERTAIN),
    content("content-refused-in-the-middle", {Phase.CONTENT: [Read(20_000), *reply("552 5.3.4 Too big"), Close()]}, NOT_DELIVERED),
    content("content-421-in-the-middle", {Phase.CONTENT: [Read(20_000), *UNAVAILABLE]}, DEFERRED),
    content("content-not-read", {Phase.CONTENT: [Never()]}, DEFERRED | UNCERTAIN, times_out=True),
    content("content-read-slowly", {Phase.CONTENT: [Read(60_000, 4096, 0.01)]}, DELIVERED),
    content("content-through-a-tiny-window", {}, DELIVERED, window=1024),
]

ACCEPTED_BADLY: dict[str, Sequence[Step]] = {
    "nothing-and-closes": [Close()],
    "nothing-and-resets": [Reset()],
    "half-a-code-and-closes": [Say(b"25"), Close()],
    "a-line-without-end-and-closes": [Say(b"250 2.0.0 Ok"), Close()],
    "half-of-its-lines": [Say(b"250-2.0.0 Ok\r\n"), Close()],
    "garbage": [Say(b"\x00\x01 done\r\n"), Close()],
    "354": [*reply("354 go on"), Close()],
    "150": [*reply("150 wait"), Close()],
    "a-code-of-four-digits": [Say(b"2500 Ok\r\n"), Close()],
    "one-endless-line": [Flood(b"250 ok ")],
    "endless-lines": [Flood(b"250-ok\r\n")],
}
CODES: dict[str, tuple[Step, ...]] = {
    "250-bare": (Say(b"250\r\n"),),
    "250-with-a-bare-lf": (Say(b"250 2.0.0 Ok\n"),),
    "250-in-drips": (Say(b"250 2.0.0 Ok\r\n", every=0.005),),
    "250-late": (Wait(0.2), Usual()),
    "250-of-many-lines": reply("250 2.0.0 " + "Ok\n" * 40 + "Ok"),
    "250-with-a-5-enhanced": reply("250 5.1.1 Ok"),
    "250-not-ascii": (Say(b"250 2.0.0 caf\xe9 \x1b[31m\r\n"),),
    "250-and-reset": (Usual(), Wait(0.05), Reset()),
    "250-and-421": (Usual(), *UNAVAILABLE),
    "250-twice": (Usual(), Say(b"250 2.0.0 Ok\r\n")),
    "299": reply("299 fine"),
}
ENDS = [
    *(behaviour(f"end-{name}", {Phase.END: steps}, UNCERTAIN) for name, steps in ACCEPTED_BADLY.items()),
    *(behaviour(f"end-{name}", {Phase.END: steps}, DELIVERED) for name, steps in CODES.items()),
    behaviour("end-never", {Phase.END: [Never()]}, UNCERTAIN, times_out=True),
    behaviour("end-drips-for-ever", {Phase.END: [Say(b"250-" + b"x" * 4000, every=0.02)]}, UNCERTAIN, times_out=True),
    behaviour("end-451", {Phase.END: reply("451 4.3.0 Later")}, DEFERRED, DEFERRED),
    behaviour("end-421", {Phase.END: UNAVAILABLE}, DEFERRED),
    behaviour("end-554", {Phase.END: reply("554 5.6.0 Spam")}, BOUNCED, BOUNCED),
    behaviour("end-599", {Phase.END: reply("599 Never")}, BOUNCED),
    behaviour("end-codes-differ", {Phase.END: [Say(b"250-Ok\r\n550 No\r\n", 0)]}, BOUNCED | UNCERTAIN),
    behaviour("bdat-and-data-refused", {p: reply("554 5.3.0 No") for p in (Phase.BDAT, Phase.END, Phase.DATA)}, BOUNCED),
    Behaviour(
        "bdat-closed-in-the-middle",
        Script({p: [Read(9000), Reset()] for p in (Phase.CHUNK, Phase.CONTENT)}),
        (DEFERRED | UNCERTAIN,),
        mail=BIG,
    ),
    Behaviour("bdat-503-for-the-first", Script({At(Phase.BDAT, 1): reply("503 5.5.1 No")}), (ANY & ~UNCERTAIN,), True, BIG),
    behaviour("quit-never", {Phase.QUIT: [Never()]}, DELIVERED, times_out=True),
    behaviour("quit-closed", {Phase.QUIT: [Close()]}, DELIVERED),
    behaviour("quit-reset", {Phase.QUIT: [Reset()]}, DELIVERED),
    behaviour("quit-500", {Phase.QUIT: reply("500 What?")}, DELIVERED),
    behaviour("quit-endless-lines", {Phase.QUIT: [Flood(b"221-bye\r\n")]}, DELIVERED),
]

OFFER = Face(tls=True)
GO = Say(b"220 Go ahead\r\n")


def tls(
    name: str, steps: Steps, wish: Security, outcome: Outcome, *, face: Face = OFFER, times_out: bool = False, may_have: bool = False
) -> Behaviour:
    """A behaviour of a remote that offers STARTTLS to a client with a wish."""
    script = Script(steps, face)
    has = may_have or bool(outcome & (DELIVERED | UNCERTAIN))
    return Behaviour(name, script, (outcome,), has, security=wish, times_out=times_out)


NO, YES, SURE = Security.OPPORTUNISTIC, Security.REQUIRED, Security.VERIFIED
BROKEN: dict[str, list[Step]] = {
    "garbage": [GO, Say(b"this is no handshake\r\n" * 20), Close()],
    "closed-at-once": [GO, Close()],
    "closed-in-handshake": [GO, ReadHello(), Close()],
    "reset-in-handshake": [GO, ReadHello(), Reset()],
    "only-old-versions": [GO, Handshake(oldest=True)],
}
TLS = [
    *(tls(f"tls-{name}", {Phase.STARTTLS: steps}, YES, DEFERRED) for name, steps in BROKEN.items()),
    *(tls(f"tls-{name}-opportunistic", {Phase.STARTTLS: steps}, NO, DEFERRED | DELIVERED) for name, steps in BROKEN.items()),
    tls("tls-handshake-never-ends", {Phase.STARTTLS: [GO, ReadHello(), Never()]}, YES, DEFERRED, times_out=True),
    tls("tls-self-signed", {}, NO, DELIVERED),
    tls("tls-self-signed-required", {}, YES, DELIVERED),
    tls("tls-self-signed-verified", {}, SURE, DEFERRED),
    tls("tls-wrong-name", {}, SURE, DEFERRED, face=Face(tls=True, names=("other.example",))),
    tls("tls-454", {Phase.STARTTLS: reply("454 4.7.0 No TLS now")}, NO, DELIVERED | DEFERRED),
    tls("tls-454-required", {Phase.STARTTLS: reply("454 4.7.0 No TLS now")}, YES, DEFERRED),
    tls("tls-554-required", {Phase.STARTTLS: reply("554 5.7.0 No TLS")}, YES, NOT_DELIVERED),
    tls("tls-not-offered-required", {}, YES, NOT_DELIVERED, face=Face()),
    # What comes in clear after 220 must not be read as if it had come in TLS (the command injection of 2011, turned round).
    tls("tls-reply-injected", {Phase.STARTTLS: [Say(b"220 Go\r\n250 injected\r\n", 220), Handshake()]}, YES, DEFERRED | DELIVERED),
    tls("tls-ehlo-refused-after", {At(Phase.EHLO, 2): reply("554 5.7.0 No"), Phase.HELO: reply("554 No")}, YES, NOT_DELIVERED),
    tls("tls-closed-after-handshake", {At(Phase.EHLO, 2): [Close()]}, YES, DEFERRED),
    tls("tls-ends-without-notice-after-250", {Phase.END: [Usual(), Reset()]}, YES, DELIVERED | UNCERTAIN),
]

LOGIN = Mail(login=("user", "secret"))
DOOR = Face(accounts={"user": "secret"}, auth_needed=True)


def auth(name: str, steps: Steps, outcome: Outcome, face: Face = DOOR, mail: Mail = LOGIN, *, times_out: bool = False) -> Behaviour:
    """A behaviour of a smart host towards a client that has a password for it."""
    return Behaviour(name, Script(steps, face), (outcome,), bool(outcome & DELIVERED), mail, times_out=times_out)


AUTH = [
    auth("auth-good", {}, DELIVERED),
    auth("auth-535", {}, NOT_DELIVERED, mail=Mail(login=("user", "wrong"))),
    auth("auth-454", {Phase.AUTH: reply("454 4.7.0 Later")}, DEFERRED),
    auth("auth-not-offered", {}, NOT_DELIVERED, Face(auth_needed=True)),
    auth("auth-only-unknown-mechanisms", {}, NOT_DELIVERED, Face(accounts={"user": "secret"}, mechanisms=("X-NEW",), auth_needed=True)),
    auth("auth-endless-challenges", {Phase.AUTH: [Flood(b"334 AAAA\r\n")]}, NOT_DELIVERED),
    auth("auth-challenge-is-no-base64", {Phase.AUTH: [Say(b"334 %%%\r\n"), Wait(0.1), *reply("501 5.5.2 No"), Close()]}, NOT_DELIVERED),
    auth("auth-closed", {Phase.AUTH: [Close()]}, DEFERRED),
    auth("auth-never", {Phase.AUTH: [Never()]}, DEFERRED, times_out=True),
    auth("auth-530-at-mail-without-password", {}, NOT_DELIVERED, mail=Mail()),
]

LOCAL = Face(lmtp=True)
EACH: Steps = {At(Phase.STATUS, 2): reply("550 5.2.1 Disabled"), At(Phase.STATUS, 3): reply("452 4.2.2 Over quota")}
ONE = Say(b"250 2.0.0 Ok\r\n", 0)
LMTP = [
    behaviour("lmtp-good", {}, DELIVERED, DELIVERED, DELIVERED, face=LOCAL),
    behaviour("lmtp-each-its-own", EACH, DELIVERED, BOUNCED, DEFERRED, face=LOCAL),
    behaviour("lmtp-refused-at-rcpt", {At(Phase.RCPT, 1): reply("550 5.1.1 No")}, BOUNCED, DELIVERED, DELIVERED, face=LOCAL),
    behaviour("lmtp-lhlo-500", {Phase.EHLO: reply("500 What?")}, NOT_DELIVERED, face=LOCAL),
    behaviour("lmtp-one-reply-for-three", {At(Phase.STATUS, 2): [Close()]}, DELIVERED, UNCERTAIN, UNCERTAIN, face=LOCAL),
    behaviour("lmtp-one-reply-then-silence", {At(Phase.STATUS, 2): [Never()]}, DELIVERED, UNCERTAIN, times_out=True, face=LOCAL),
    behaviour("lmtp-no-reply", {At(Phase.STATUS, 1): [Reset()]}, UNCERTAIN, UNCERTAIN, face=LOCAL),
    behaviour("lmtp-too-many-replies", {At(Phase.STATUS, 2): [Usual(), ONE, ONE]}, DELIVERED, DELIVERED, face=LOCAL),
    behaviour("lmtp-421-at-second", {At(Phase.STATUS, 2): UNAVAILABLE}, DELIVERED, DEFERRED, DEFERRED | UNCERTAIN, face=LOCAL),
    behaviour("lmtp-garbage-at-second", {At(Phase.STATUS, 2): [Say(b"!!\r\n"), Close()]}, DELIVERED, UNCERTAIN, UNCERTAIN, face=LOCAL),
]
