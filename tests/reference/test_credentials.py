"""An example of Credentials."""

from penstock import Sink, on
from penstock.events import Credentials
from penstock.testing import SinkTesters
from penstock.verdicts import Authenticated, Keys, Reject

USERS = {"alice": "wonderland"}


class InMemory(Sink):
    """Knows one user, for PLAIN, LOGIN and SCRAM."""

    @on(Credentials)
    def check(self, event: Credentials) -> Authenticated | Keys | Reject | None:
        known = USERS.get(event.user)
        if known is None:
            return None
        if event.kind == "keys":
            return Keys.of(event.user, known, event.mechanism)
        if event.kind != "password":
            return None
        return Authenticated(event.user) if event.password == known else Reject(535, "5.7.8", "Authentication credentials invalid")


async def test_one_user_is_known(sink_tester: SinkTesters) -> None:
    tester = sink_tester(InMemory())
    assert await tester.credentials("alice", secret="wonderland") == Authenticated("alice")
    assert await tester.credentials("alice", secret="looking-glass") == Reject(535, "5.7.8", "Authentication credentials invalid")
    assert await tester.credentials("bob", secret="wonderland") is None
    keys = await tester.credentials("alice", kind="keys")
    assert isinstance(keys, Keys)
    assert keys.mechanism == "SCRAM-SHA-256"
