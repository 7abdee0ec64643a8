"""Takes extensions and commands away: what EHLO does not offer, a client may not use, and what is asked about people is not answered.

Bind it with:

    [[binding]]
    name = "hidden-verbs"
    sink = "hidden_verbs:HiddenVerbs"
    settings = { extensions = ["CHUNKING", "DSN"] }
"""

from dataclasses import dataclass, field

from penstock import Sink, on
from penstock.events import Ehlo, Verb
from penstock.verdicts import Reject


@dataclass(frozen=True, slots=True)
class HiddenVerbsSettings:
    """What is not offered.

    Args:
        extensions: keywords of the EHLO reply.
    """

    extensions: list[str] = field(default_factory=list)


class HiddenVerbs(Sink[HiddenVerbsSettings]):
    """For clients that stumble over an extension, and for those who only want to know who is here."""

    @on(Ehlo)
    async def hide(self, event: Ehlo) -> None:
        """The list is the reply; the server goes by it too, and refuses what is not in it."""
        hidden = {keyword.upper() for keyword in self.settings.extensions}
        event.extensions[:] = [line for line in event.extensions if line.partition(" ")[0].upper() not in hidden]

    @on(Verb, keyword="VRFY")
    @on(Verb, keyword="EXPN")
    async def refuse(self, event: Verb) -> Reject:
        """252, which is the usual answer, would tell as little; 502 also says that asking on is in vain."""
        return Reject(502, "5.5.1", f"{event.keyword} is not for you")
