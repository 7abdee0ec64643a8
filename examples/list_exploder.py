"""A mailing list: its members get the message in the list's name, with the fields that mail programs know lists by.

Bind it with:

    [[binding]]
    name = "friends-list"
    sink = "list_exploder:ListExploder"
    settings = { address = "friends@lists.example.com", owner = "ann@example.com", members = "friends.txt" }
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from penstock import Address, Sink, on
from penstock.events import PostCategorize, Resolve


@dataclass(frozen=True, slots=True)
class ListSettings:
    """One list.

    Args:
        address: what is written to.
        owner: who gets the bounces, and mail to ``LIST-owner``.
        members: a file with an address a line; who is in it may write to the list.
    """

    address: str
    owner: str
    members: Path


class ListExploder(Sink[ListSettings]):
    """Bounces of members go to the list's owner, not to who wrote (RFC 5321 §3.9.2).

    A ``match`` on the list's address would hold at Resolve, and no more at PostCategorize, when the members have taken its place.
    """

    def __init__(self, settings: ListSettings) -> None:
        super().__init__(settings)
        self._list = Address.parse(settings.address)
        self._bounces = self._list.with_local(f"{self._list.local}-owner")
        self._id = f"<{self._list.local}.{self._list.domain}>"

    @on(Resolve)
    async def explode(self, event: Resolve) -> None:
        """Decides about the list's own addresses; others in the same message are left to others, and hear nothing of it."""
        for item in event.open:
            if item.kind == "recipient" and item.address == self._bounces:
                item.forward([self.settings.owner])
            elif item.kind == "recipient" and item.address == self._list:
                members = (await asyncio.to_thread(self.settings.members.read_text, "utf-8")).split()
                if event.message.header.has("List-Id", self._id):
                    item.fail("5.4.6", "This message came from the list")
                elif str(event.message.sender).lower() not in map(str.lower, members):
                    item.fail("5.7.1", "Only members may write to the list")
                else:
                    item.expand(members, sender=self._bounces)

    @on(PostCategorize)
    async def mark(self, event: PostCategorize) -> None:
        """What goes to members is a copy of its own by now, which the owner's name tells (RFC 2369, RFC 2919)."""
        if event.message.sender != self._bounces:
            return
        header = event.message.header
        header.replace("List-Id", self._id)
        header.replace("List-Post", f"<mailto:{self._list}>")
        header.replace("List-Unsubscribe", f"<mailto:{self._bounces}?subject=unsubscribe>")
        header.replace("Precedence", "list")
