"""A process that hammers a spool and says on its standard output what it was promised; and the comparison of that with what survived.

Lines, each written whole and at once:

    kept ID DIGEST    the commit that put this entry and its content is durable
    leave ID          its removal will be asked for next: from here on it may be there or not
    gone ID           the commit that removed it is durable
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from penstock.errors import StorageError
from penstock.mail.content import Content, MemoryContent, chunks
from penstock.storage.base import Entry, Put, Query, Recovered, Remove
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool


def settings(folder: Path) -> EmbeddedSettings:
    """Small segments and quick settling, so that everything happens within seconds."""
    return EmbeddedSettings(folder, segment_size=1 << 20, large_content=100_000, settle_after=0.1, settle_interval=0.05, slack_segments=2)


@dataclass(slots=True)
class Ledger:
    """What a hammer was promised.

    Args:
        kept: digest of the content of each entry that must be there.
        gone: entries that must not be there.
        left: entries that may be there or not.
    """

    kept: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    left: dict[str, str] = field(default_factory=dict)

    def read(self, text: str) -> None:
        """Adds all whole lines."""
        for line in text[: text.rfind("\n") + 1].splitlines():
            word, name, *digest = line.split()
            if word == "kept":
                self.kept[name] = digest[0]
            elif word == "leave":
                self.left[name] = self.kept.pop(name)
            else:
                del self.left[name]
                self.gone.add(name)

    async def compare(self, folder: Path) -> tuple[Recovered, list[str]]:
        """Opens the spool and tells what is wrong with it: lost, damaged and risen entries."""
        spool = EmbeddedSpool(settings(folder))
        recovered = await spool.open()
        try:
            wrong = [self._check(spool, name, digest) for name, digest in self.kept.items()]
            for entry in spool.select(Query(), limit=10_000_000).entries:
                if entry.id in self.gone:
                    wrong.append(f"{entry.id} is back")
                if entry.id not in self.kept:
                    wrong.append(self._check(spool, entry.id, self.left.get(entry.id, "")))
            return recovered, [each for each in wrong if each]
        finally:
            await spool.close()

    def _check(self, spool: EmbeddedSpool, name: str, digest: str) -> str:
        entry = spool.get(name)
        if entry is None:
            return f"{name} is lost"
        try:
            found = digest_of(spool.content(entry))
        except StorageError as error:
            return f"{name}: {error}"
        return "" if found == digest or not digest else f"{name} has another content"


def digest_of(content: Content) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for chunk in chunks(content):
        digest.update(chunk)
    return digest.hexdigest()


def say(*words: str) -> None:
    os.write(1, (" ".join(words) + "\n").encode())


async def produce(spool: EmbeddedSpool, chance: random.Random, prefix: str) -> None:
    """Puts, defers and removes messages for ever; forks some; sends some as large contents."""
    later: list[Entry] = []
    for number in range(1_000_000_000):
        name = f"{time.time_ns():016x}-{prefix}-{number}"
        size = chance.choice([100, 2000, 4000, 20_000])
        content: Content = MemoryContent(chance.randbytes(size))
        if chance.random() < 0.01:
            writer = spool.writer()
            await writer.write(chance.randbytes(300_000))
            content = await writer.finish()
        entry = Entry(name, "submitted", b"envelope", "c" + name)
        await spool.commit([Put(entry, content)])
        say("kept", name, digest_of(content))
        if chance.random() < 0.3:
            fork = Entry(name + "-fork", "routed", b"other", "c" + name, "queue", 5.0)
            await spool.commit([Put(fork)])
            say("kept", fork.id, digest_of(content))
            later.append(fork)
        if chance.random() < 0.2:
            spool.append([Put(Entry(name, "deferred", b"envelope", "c" + name, "queue", time.time() + 60))])
            later.append(entry)
        else:
            say("leave", name)
            spool.append([Remove(name)])
        if len(later) > 60:
            old = later.pop(chance.randrange(30))
            say("leave", old.id)
            await spool.commit([Remove(old.id)])
            say("gone", old.id)


async def hammer(folder: Path, seed: int, honest: bool) -> None:
    made = settings(folder)
    spool = EmbeddedSpool(made if honest else replace(made, sync=lambda _: None))
    await spool.open()
    say("kept", "start", "-")
    say("leave", "start")
    await asyncio.gather(*(produce(spool, random.Random(seed * 1000 + n), f"{seed}.{n}") for n in range(24)))


if __name__ == "__main__":
    uvloop.run(hammer(Path(sys.argv[1]), int(sys.argv[2]), honest="without-sync" not in sys.argv))
