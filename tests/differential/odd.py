"""Odd conversations, made from a seed: what a careless, broken or hostile client says, as octets, command by command.

Each begins more or less well and then loses its way: parameters, order, syntax, white space, long lines, bare CR and LF, NUL, weird paths,
quoted local parts, source routes, sizes, pipelining (all of it is sent at once), content that is not what it should be.
"""

# ruff: noqa: E501 - the tables are read by column, and a line for each of 200 lines would hide them
from __future__ import annotations

import random

HELLO = [b"EHLO client.example", b"EHLO client.example", b"HELO client.example", b"ehlo [127.0.0.1]", b"EHLO [IPv6:::1]"]
ODD_HELLO = [
    b"EHLO", b"HELO", b"EHLO ", b"EHLO a b", b"EHLO -", b"EHLO under_score.example", b"EHLO client.example ", b"EHLO  client.example",
    b"EHLO client..example", b"EHLO [127.0.0.1", b"EHLO " + b"x" * 300, b"LHLO client.example", b"EHLO client.example\t", b"EhLo x", b"EHLO x:y",
    b"EHLO \xc3\xa9.example", b"EHLO x;y", b"EHLO (x)", b"EHLO <x>",
]  # fmt: skip
MAIL = [
    b"MAIL FROM:<a@client.example>",
    b"MAIL FROM:<>",
    b"mail from:<a@client.example>",
    b"MAIL FROM:<a@client.example> SIZE=100 BODY=8BITMIME",
]
ODD_MAIL = [
    b"MAIL FROM: <a@client.example>", b"MAIL FROM:a@client.example", b"MAIL FROM:", b"MAIL", b"MAIL FROM", b"MAIL TO:<a@client.example>",
    b"MAIL FROM :<a@client.example>", b"MAIL  FROM:<a@client.example>", b"MAIL FROM:<a@client.example", b"MAIL FROM:a@client.example>",
    b"MAIL FROM:<<a@client.example>>", b"MAIL FROM:<a>", b"MAIL FROM:<@client.example>", b"MAIL FROM:<a@>", b"MAIL FROM:<a b@client.example>",
    b'MAIL FROM:<"a b"@client.example>', b'MAIL FROM:<"a@b"@client.example>', b'MAIL FROM:<"a\\"b"@client.example>', b'MAIL FROM:<"a@client.example>',
    b'MAIL FROM:<""@client.example>', b"MAIL FROM:<a..b@client.example>", b"MAIL FROM:<.a@client.example>", b"MAIL FROM:<a.@client.example>",
    b"MAIL FROM:<@r.example:a@client.example>", b"MAIL FROM:<@r.example,@s.example:a@client.example>", b"MAIL FROM:<@r.example>",
    b"MAIL FROM:<a@client.example.>", b"MAIL FROM:<a@[192.0.2.1]>", b"MAIL FROM:<a@[IPv6:::1]>", b"MAIL FROM:<a@[300.1.1.1]>", b"MAIL FROM:<a@192.0.2.1>",
    b"MAIL FROM:<a@-client.example>", b"MAIL FROM:<a@client_x.example>", b"MAIL FROM:<" + b"x" * 65 + b"@client.example>",
    b"MAIL FROM:<a@" + b"y" * 64 + b".example>", b"MAIL FROM:<a@" + b"y." * 140 + b"example>", b"MAIL FROM:<a@client.example> ",
    b"MAIL FROM:<a@client.example>SIZE=5", b"MAIL FROM:<a@client.example> SIZE=99999999", b"MAIL FROM:<a@client.example> SIZE=x",
    b"MAIL FROM:<a@client.example> SIZE=", b"MAIL FROM:<a@client.example> SIZE", b"MAIL FROM:<a@client.example> SIZE=-1",
    b"MAIL FROM:<a@client.example> SIZE=5 SIZE=6", b"MAIL FROM:<a@client.example> SIZE=99999999999999999999999", b"MAIL FROM:<a@client.example> SIZE=0",
    b"MAIL FROM:<a@client.example> BODY=7BIT", b"MAIL FROM:<a@client.example> BODY=9BIT", b"MAIL FROM:<a@client.example> BODY",
    b"MAIL FROM:<a@client.example> BODY=BINARYMIME", b"MAIL FROM:<a@client.example> X-NO=1", b"MAIL FROM:<a@client.example> =5",
    b"MAIL FROM:<a@client.example> RET=FULL ENVID=abc", b"MAIL FROM:<a@client.example> RET=ALL", b"MAIL FROM:<a@client.example> ENVID=",
    b"MAIL FROM:<a@client.example> RET=HDRS RET=FULL", b"MAIL FROM:<a@client.example> ENVID=a+2", b"MAIL FROM:<a@client.example>  SIZE=5",
    b"MAIL FROM:<a@client.example>\tSIZE=5", b"MAIL FROM:<a@client.example> size=5 body=8bitmime", b"MAIL FROM:<a@client.example> SMTPUTF8",
    b"MAIL FROM:<a@client.example> SMTPUTF8=x", b"MAIL FROM:<\xc3\xa4@client.example>", b"MAIL FROM:<\xc3\xa4@client.example> SMTPUTF8",
    b"MAIL FROM:<a@\xc3\xa9.example> SMTPUTF8", b"MAIL FROM:<\xff@client.example> SMTPUTF8", b"MAIL FROM:<a@client.example> AUTH=<>",
    b"MAIL FROM:<postmaster>", b"MAIL FROM:<a%b@client.example>", b"MAIL FROM:<a!b@client.example>", b"MAIL FROM:<a(c)@client.example>",
    b"MAIL FROM:Alice <a@client.example>", b"MAIL FROM:<a@client.example> <b@client.example>", b"MAIL FROM:< >", b"MAIL FROM:< a@client.example >",
    b"MAILFROM:<a@client.example>", b"MAIL FROM=<a@client.example>", b"MAIL FROM:<a@b@client.example>", b"MAIL FROM:<a@client,example>",
    b"MAIL FROM:<a;b@client.example>", b"MAIL FROM:<a:b@client.example>", b"MAIL FROM:<a,b@client.example>", b"MAIL FROM:<-a@client.example>",
]  # fmt: skip
RCPT = [b"RCPT TO:<b@example.com>", b"RCPT TO:<b@example.com>", b"rcpt to:<c@example.com>", b"RCPT TO:<d+x@EXAMPLE.com>"]
ODD_RCPT = [
    b"RCPT TO: <b@example.com>", b"RCPT TO:b@example.com", b"RCPT TO:", b"RCPT", b"RCPT TO", b"RCPT FROM:<b@example.com>", b"RCPT TO:<>",
    b"RCPT TO :<b@example.com>", b"RCPT  TO:<b@example.com>", b"RCPT TO:<b@example.com", b"RCPT TO:b@example.com>", b"RCPT TO:<b>",
    b"RCPT TO:<b@elsewhere.example>", b"RCPT TO:<b%c@example.com>", b"RCPT TO:<b%c.example@example.com>", b"RCPT TO:<b@c.example@example.com>",
    b"RCPT TO:<@example.com:b@example.com>", b"RCPT TO:<@r.example,@s.example:b@example.com>", b"RCPT TO:<@example.com:b@elsewhere.example>",
    b'RCPT TO:<"b c"@example.com>', b'RCPT TO:<"b@c"@example.com>', b'RCPT TO:<"b"@example.com>', b'RCPT TO:<""@example.com>', b'RCPT TO:<"b@example.com>',
    b"RCPT TO:<b..c@example.com>", b"RCPT TO:<.b@example.com>", b"RCPT TO:<b.@example.com>", b"RCPT TO:<b@example.com.>", b"RCPT TO:<b@>",
    b"RCPT TO:<@example.com>", b"RCPT TO:<postmaster>", b"RCPT TO:<Postmaster>", b"RCPT TO:<postmaster@example.com>", b"RCPT TO:<b@[192.0.2.1]>",
    b"RCPT TO:<" + b"x" * 65 + b"@example.com>", b"RCPT TO:<" + b"x" * 64 + b"@example.com>", b"RCPT TO:<b@example.com> NOTIFY=NEVER",
    b"RCPT TO:<b@example.com> NOTIFY=SUCCESS,FAILURE", b"RCPT TO:<b@example.com> NOTIFY=NEVER,FAILURE", b"RCPT TO:<b@example.com> NOTIFY=x",
    b"RCPT TO:<b@example.com> NOTIFY=", b"RCPT TO:<b@example.com> NOTIFY", b"RCPT TO:<b@example.com> ORCPT=rfc822;b@example.com",
    b"RCPT TO:<b@example.com> ORCPT=b", b"RCPT TO:<b@example.com> ORCPT=rfc822;", b"RCPT TO:<b@example.com> ORCPT=rfc822;a+ZZb",
    b"RCPT TO:<b@example.com> NOTIFY=NEVER NOTIFY=NEVER", b"RCPT TO:<b@example.com> X=1", b"RCPT TO:<b@example.com> SIZE=5", b"RCPT TO:<b@example.com>x",
    b"RCPT TO:<\xc3\xa4@example.com>", b"RCPT TO:<b@example.com> ", b"RCPT TO:< b@example.com>", b"RCPT TO:<b@example.com> <c@example.com>",
    b"RCPT TO:<b(x)@example.com>", b"RCPT TO:<b,c@example.com>", b"RCPT TO:<b@ex_ample.com>", b"RCPT TO:<b@example..com>", b"RCPT TO:<|x@example.com>",
    b"RCPT TO:</etc/passwd@example.com>", b"RCPT TO:<../b@example.com>", b"RCPT TO:<$(x)@example.com>", b"RCPT TO:<`x`@example.com>",
]  # fmt: skip
OTHER = [b"NOOP", b"RSET", b"VRFY b@example.com", b"HELP"]
ODD_OTHER = [
    b"NOOP x", b"RSET x", b"VRFY", b"VRFY <b@example.com>", b"VRFY b c", b"VRFY nobody@elsewhere.example", b"EXPN list", b"EXPN", b"TURN", b"ETRN x.example",
    b"HELP x", b"XYZZY", b"", b" ", b" NOOP", b"NOOP ", b"noop", b"NOOP\t", b"\tNOOP", b"AUTH PLAIN", b"AUTH", b"STARTTLS", b"STARTTLS x", b"XCLIENT NAME=x",
    b"XFORWARD NAME=x", b"SEND FROM:<a@b.example>", b"SOML FROM:<a@b.example>", b"SAML FROM:<a@b.example>", b"BDAT", b"BDAT x", b"BDAT -1", b"BDAT 0",
    b"BDAT 5 FIRST", b"QUIT x", b"DATA x", b"GET / HTTP/1.1", b"POST / HTTP/1.0", b"Host: example.com", b"\xff\xfe", b"\x00", b"NOOP \x00", b"x" * 600,
    b"NOOP " + b"y" * 1900, b"NOOP " + b"y" * 2100, b"RSET ", b"DATA ", b"QUIT ", b".", b"..", b"RCPT TO:<b@example.com>", b"MAIL FROM:<a@b.example>",
]  # fmt: skip
CONTENT = [b"Subject: x\r\n\r\nbody\r\n.\r\n", b".\r\n", b"a\r\n..dot\r\n.\r\n"]
ODD_CONTENT = [
    b"no header\r\n.\r\n", b"Subject: x\r\n\r\nbare\nLF\r\n.\r\n", b"Subject: x\r\n\r\nbare\rCR\r\n.\r\n", b"x\n.\r\nMAIL FROM:<smuggled@x.example>\r\n.\r\n",
    b"x\r\n.\nMAIL FROM:<smuggled@x.example>\r\n.\r\n", b"x\n.\nMAIL FROM:<smuggled@x.example>\r\n.\r\n", b"x\r.\rMAIL FROM:<smuggled@x.example>\r\n.\r\n",
    b"x\r\n.\rMAIL FROM:<smuggled@x.example>\r\n.\r\n", b"nul \x00 inside\r\n.\r\n", b"8 bit \xc3\xa4\xff\r\n.\r\n", b"y" * 998 + b"\r\n.\r\n", b"y" * 999 + b"\r\n.\r\n",
    b"y" * 3000 + b"\r\n.\r\n", (b"z" * 70 + b"\r\n") * 400 + b".\r\n", b"..\r\n.\r\n", b"...\r\n..\r\n.\r\n", b"\r\n.\r\n", b"\r\n\r\n.\r\n", b".x\r\n.\r\n",
    b"From x y\r\n.\r\n", b"Received: x\r\n" * 60 + b"\r\n.\r\n", b"S" * 100 + b": x\r\n.\r\n", b"A:\r\n b\r\n\r\n.\r\n", b"no end\r\n", b"\x1a\x1b\x7f\r\n.\r\n",
]  # fmt: skip
CHUNKS = [
    b"BDAT 6 LAST\r\nbody\r\n",
    b"BDAT 4\r\nab\r\nBDAT 4 LAST\r\ncd\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 7\r\nab\r\nBDAT 0 LAST\r\n",
    b"bdat 2 last\r\n\r\n",
]
SPICE = [
    b" ",
    b"  ",
    b"\t",
    b"\x00",
    b"\xff",
    b"\xc3\xa9",
    b"\r",
    b"\n",
    b"<",
    b">",
    b'"',
    b"\\",
    b"@",
    b":",
    b",",
    b";",
    b"=",
    b"(",
    b".",
    b"x" * 500,
]


def _mutated(dice: random.Random, line: bytes) -> bytes:
    made = bytearray(line)
    at = dice.randrange(len(made) + 1)
    kind = dice.randrange(4)
    if kind == 0:
        made[at:at] = dice.choice(SPICE)
    elif kind == 1:
        del made[at : at + dice.choice((1, 1, 2, 5))]
    elif kind == 2:
        made[at : at + 1] = dice.choice(SPICE)
    else:
        made[at:at] = made[at : at + dice.choice((1, 3, 8))]
    return bytes(made)


def _line(dice: random.Random, good: list[bytes], odd: list[bytes], often: float) -> bytes:
    line = dice.choice(odd) if dice.random() < often else dice.choice(good)
    if dice.random() < often / 4:
        line = _mutated(dice, line)
    end = b"\r\n" if dice.random() > 0.02 else dice.choice((b"\n", b"\r\r\n", b" \r\n", b"\r\n\r\n"))
    return line + end


def _content(dice: random.Random, often: float) -> list[bytes]:
    if dice.random() < 0.15:
        return [dice.choice(CHUNKS)]
    content = dice.choice(ODD_CONTENT) if dice.random() < often * 1.5 else dice.choice(CONTENT)
    return [b"DATA\r\n", content]


def conversation(seed: int) -> bytes:
    """All that the client says in the conversation of this number, the same for ever."""
    dice = random.Random(f"conversation {seed}")
    often = dice.choice((0.1, 0.25, 0.5))
    steps = [_line(dice, HELLO, ODD_HELLO, often / 2)]
    for _ in range(dice.choice((1, 1, 2))):
        part = [_line(dice, MAIL, ODD_MAIL, often)]
        part += [_line(dice, RCPT, ODD_RCPT, often) for _ in range(dice.choice((1, 1, 2, 3, 7)))]
        part += _content(dice, often) if dice.random() < 0.85 else []
        while dice.random() < often:
            part.insert(dice.randrange(len(part) + 1), _line(dice, OTHER, ODD_OTHER, 0.7))
        if dice.random() < 0.08:
            dice.shuffle(part)
        steps += part
    if dice.random() < 0.05:
        steps.pop(0)
    return b"".join([*steps, b"QUIT\r\n"] if dice.random() < 0.9 else steps)


_BEGIN = b"EHLO c.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@example.com>\r\n"
# Those that had names once: smuggling, injection, what famous clients get wrong.
WRITTEN = [
    _BEGIN + b"DATA\r\nx\r\n\n.\r\nMAIL FROM:<s@x.example>\r\n.\r\nQUIT\r\n",
    _BEGIN + b"DATA\r\nx\n.\r\n.\r\nQUIT\r\n",
    _BEGIN + b"DATA\r\nx\r\n.\r\r\n.\r\nQUIT\r\n",
    _BEGIN + b"DATA\r\nx\r\n.\x00\r\n.\r\nQUIT\r\n",
    _BEGIN + b"DATA\r\nx\r\n. \r\n.\r\nQUIT\r\n",
    _BEGIN + b"DATA\r\nx\r\n.\r\n.\r\nQUIT\r\n",
    _BEGIN + b"DATA\r\nno end at all",
    _BEGIN + b"DATA\r\nx\r\n.\r",
    _BEGIN + b"DATA\r\nx\r\n.",
    _BEGIN + b"BDAT 5\r\nab",
    _BEGIN + b"BDAT 5 LAST\r\nab\r\n.QUIT\r\n",
    _BEGIN + b"BDAT 4\r\nab\r\nBDAT 3 LAST\r\nc\r\nQUIT\r\n",
    _BEGIN + b"BDAT 2\r\n\r\nDATA\r\nRSET\r\nQUIT\r\n",
    _BEGIN + b"BDAT\t4 LAST\r\nRSETQUIT\r\n",
    _BEGIN + b"BDAT 99999999999999999999 LAST\r\nQUIT\r\n",
    b"EHLO c.example\r\nBDAT 6 LAST\r\nRSET\r\nQUIT\r\n",
    b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nEHLO c.example\r\nRCPT TO:<b@example.com>\r\nQUIT\r\n",
    b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nDATA\r\nRCPT TO:<x@elsewhere.example>\r\nDATA\r\nQUIT\r\n",
    b"QUIT\r\nEHLO c.example\r\n",
    b"NOOP\r\nRSET\r\nVRFY b@example.com\r\nMAIL FROM:<a@b.example>\r\nQUIT\r\n",
    b"\r\n\r\n\r\nEHLO c.example\r\nQUIT\r\n",
    b"RSET\nEHLO c.example\nQUIT\n",
    b"",
    b"\x16\x03\x01\x00\x05hello",
]
