"""What is captured of a session in TLS is what was said in it, and can be said again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from capture.capturing import captured, capturing, steps
from hosts.secured import from_the_first_octet, serving, upgraded


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_session_in_tls_is_captured_in_clear(tmp_path: Path, implicit: bool) -> None:
    path = tmp_path / "sessions"
    async with capturing(path) as server:
        wire = replace(server.settings.wire, starttls=not implicit)
        server.settings = replace(server.settings, wire=wire, tls=serving(implicit=implicit))
        client = await (from_the_first_octet(server) if implicit else upgraded(server))
        await client.send()
        assert await client.say("QUIT") == "221 2.0.0 Bye"
        client.close()
        await server.until(lambda: not server.host.sessions, "the session to end")
    (session,) = captured(path)
    said = steps(session, "command", "unread")
    verbs = ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"] if implicit else ["EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    assert [line.split()[0] for line in said if line.strip()] == verbs
    assert session.tls == ("TLSv1.3" if implicit else ""), "as it was at the beginning"
    assert "Subject: hello" in "".join(steps(session, "content"))
