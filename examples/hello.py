"""A first sink, to be edited: it greets in a header field, and refuses what asks to be refused.

Start the server with ``make run``, send it a message with ``penstock send --to alice@example.com``, and find X-Hello in the mailbox.
"""

from dataclasses import dataclass

from penstock import Sink, on
from penstock.events import EndOfData, Submission
from penstock.verdicts import Reject


@dataclass(frozen=True, slots=True)
class HelloSettings:
    """What the configuration file may set.

    Args:
        greeting: the value of the header field.
    """

    greeting: str = "Hello"


class Hello(Sink[HelloSettings]):
    """Greets everybody for whom there is mail."""

    @on(EndOfData)
    async def refuse(self, event: EndOfData) -> Reject | None:
        """The client still waits for an answer: what is refused here was never accepted."""
        if event.message.header.get("Subject") == "refuse me":
            return Reject(550, "5.7.1", "As you wish")
        return None

    @on(Submission)
    async def greet(self, event: Submission) -> None:
        """The message is accepted and safe: from here on it may be changed, split, answered or dropped."""
        names = ", ".join(recipient.address.local for recipient in event.message.recipients)
        event.message.header.add("X-Hello", f"{self.settings.greeting}, {names}")
        self.log.info("greeted", message=event.message.id, names=names)
