"""Takes mail for a domain's former name, and delivers it under the present one.

Bind it with:

    [[binding]]
    name = "renamed"
    sink = "rewrite_domain:RewriteDomain"
    priority = 8191                     # before relay control, at 16384, which refuses the old domain
    settings = { old = "old.example", new = "example.com" }
"""

from dataclasses import dataclass

from penstock import Sink, on
from penstock.events import RcptTo, Submission
from penstock.verdicts import Rewrite


@dataclass(frozen=True, slots=True)
class RewriteSettings:
    """Which domain stands for which.

    Args:
        old: the domain that mail is still sent to.
        new: the domain that takes its place.
    """

    old: str
    new: str


class RewriteDomain(Sink[RewriteSettings]):
    """Rewrites recipients of the old domain, and says so in the message."""

    @on(RcptTo, blocking=False)
    def rewrite(self, event: RcptTo) -> Rewrite | None:
        """Rewrite goes on with the next binding, which sees the new address; None goes on with the old one."""
        address = event.recipient.address
        if address.domain != self.settings.old.lower():
            return None
        event.recipient.properties["written_to"] = str(address)
        return Rewrite(address.with_domain(self.settings.new))

    @on(Submission)
    async def tell(self, event: Submission) -> None:
        """What was noted with a recipient is still with it, in whatever process and after however many restarts."""
        for recipient in event.message.recipients:
            if "written_to" in recipient.properties:
                event.message.header.add("X-Written-To", recipient.properties["written_to"])
