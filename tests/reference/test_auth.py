"""An example of Auth."""

from penstock import Sink, on
from penstock.events import Auth
from penstock.testing import SinkTesters
from penstock.verdicts import Authenticated, Reject


class OneTimeCode(Sink):
    """A mechanism of its own, of two questions; EHLO offers it."""

    @on(Auth, mechanism="X-OTP")
    async def authenticate(self, event: Auth) -> Authenticated | Reject:
        user = await event.challenge(b"User:")
        code = await event.challenge(b"Code:")
        if code != b"123456":
            return Reject(535, "5.7.8", "Authentication credentials invalid")
        return Authenticated(user.decode())


async def test_a_code_is_asked_for(sink_tester: SinkTesters) -> None:
    tester = sink_tester(OneTimeCode())
    assert await tester.auth("X-OTP", responses=[b"alice", b"000000"]) == Reject(535, "5.7.8", "Authentication credentials invalid")
    assert await tester.auth("X-OTP", initial_response=b"alice", responses=[b"123456"]) == Authenticated("alice")
