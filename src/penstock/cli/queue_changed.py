"""``penstock queue hold`` and all the others that change something.

What is done to many messages at once by conditions is asked for twice: what cannot be taken back needs --yes, and everything needs --all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..admin.protocol import Action, AnyQuestion, Changed, ChangeMessages, Done, Flush, ResetRoutes, Resume, Suspend
from ..config import load
from ..mail.nexthop import NextHop
from .exits import EX_NOUSER, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, Stop, complain
from .offline import counted, printable
from .queue_filter import duration, make_filter, queue_name
from .workers import Workers, told

if TYPE_CHECKING:
    from .queue import Words

_DONE = {
    "hold": "held", "release": "released", "retry": "tried now", "remove": "removed", "bounce": "returned to the sender",
    "reroute": "rerouted",
}  # fmt: skip
_ALREADY = {"hold": "is held already", "release": "is not held", "retry": "is being tried, or held: release it"}
# So many messages are named one by one; of more, only the number is told.
NAMED = 20


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done.

    Args:
        action: what.
        text: why.
        next_hop: where to.
        yes: it was confirmed that all that match are meant.
    """

    action: Action
    text: str = ""
    next_hop: str = ""
    yes: bool = False


def change(path: Path, wish: Wish, words: Words, every: bool) -> None:
    """Does something with messages. Raises PenstockError; Stop; typer.Exit."""
    _must_be_meant(wish, words, every)
    if wish.next_hop:
        _must_be_next_hop(wish.next_hop)
    wanted = make_filter(words)
    if words.ids and wish.action in ("hold", "release", "retry"):
        # Who names a message is told that it is held already, or is not.
        wanted = make_filter(type(words)(ids=words.ids))
    workers = Workers(load(path))
    question = ChangeMessages(action=wish.action, filter=wanted, text=wish.text, next_hop=wish.next_hop)
    results: Counter[str] = Counter()
    seen: set[str] = set()

    def ask() -> None:
        for answer in workers.each(question):
            if isinstance(answer, Changed):
                results[answer.result] += 1
                if wanted.ids:
                    seen.add(answer.id)
                _tell(wish, answer, results.total())

    told(ask)
    _conclude(wish, results, [name for name in dict.fromkeys(wanted.ids) if name not in seen], workers.complete)


def _must_be_meant(wish: Wish, words: Words, every: bool) -> None:
    held = wish.action in ("hold", "release", "retry")
    conditions = words != type(words)(held=words.held if held else None)
    if not conditions and not every:
        raise Stop(EX_USAGE, f"which messages? Nothing says what to {wish.action}", "give ids, conditions such as --queue, or --all")
    if conditions and not words.ids and not every and not wish.yes and wish.action in ("remove", "bounce"):
        hint = f"see what they are with 'penstock queue list' and the same conditions; then add --yes to {wish.action} them"
        raise Stop(EX_USAGE, f"this would {wish.action} all messages that match", hint)


def _must_be_next_hop(text: str) -> None:
    try:
        NextHop.parse(text)
    except ValueError as error:
        raise Stop(
            EX_USAGE, str(error), "write it as mx:example.org, [relay.example]:25 or lmtp:[127.0.0.1]:24; it comes before the ids"
        ) from None


def _tell(wish: Wish, answer: Changed, number: int) -> None:
    if answer.result == "failed":
        complain(EX_UNAVAILABLE, f"{answer.id}: {printable(answer.failed)}")
    elif number <= NAMED:
        done = f"is {_DONE[wish.action]}"
        later = f"is being delivered; what is left after that {done}"
        already = _ALREADY.get(wish.action, f"{done} already")
        typer.echo(f"{answer.id} {done if answer.result == 'done' else later if answer.result == 'later' else already}")
    elif number == NAMED + 1:
        typer.echo("...")


def _conclude(wish: Wish, results: Counter[str], unknown: list[str], complete: bool) -> None:
    changed = results["done"] + results["later"]
    if results.total() > NAMED or not (results or unknown):
        typer.echo(f"{counted(changed, 'message')} {_DONE[wish.action]}")
    for name in unknown if complete else []:
        complain(EX_NOUSER, f"there is no message {name!r} in the queue")
    if unknown and complete:
        complain(EX_NOUSER, "it may have been delivered meanwhile", "see: penstock queue list") if not results else None
        raise typer.Exit(EX_NOUSER)
    if not complete:
        raise typer.Exit(EX_TEMPFAIL)
    if results["failed"]:
        raise typer.Exit(EX_UNAVAILABLE)


def _count(path: Path, question: AnyQuestion) -> int:
    workers = Workers(load(path))
    return told(lambda: sum(answer.count for answer in workers.each(question) if isinstance(answer, Done)))


def suspend_queue(path: Path, name: str, text: str, why: str) -> None:
    """Begins nothing more in a queue. Raises PenstockError; Stop."""
    queue = _exact(name)
    if not queue.startswith("local:"):
        # A slip here would stop nothing, and say that it did.
        _must_be_next_hop(queue.partition(";")[0])
    _count(path, Suspend(queue=queue, seconds=duration("--for", text), reason=why))
    typer.echo(f"{queue} is suspended{f' for {text}' if text else ''}; 'penstock queue resume {queue}' ends that")


def resume_queue(path: Path, name: str) -> None:
    """Ends the suspension of a queue. Raises PenstockError; Stop."""
    queue = _exact(name)
    if not _count(path, Resume(queue=queue)):
        raise Stop(EX_NOUSER, f"no queue {queue!r} is being worked on", "see: penstock queue destinations")
    typer.echo(f"{queue} goes on")


def flush_queues(path: Path, name: str) -> None:
    """Tries now what waits. Raises PenstockError; Stop."""
    queue = _exact(name) if name else ""
    count = _count(path, Flush(queue=queue))
    if queue and not count:
        raise Stop(EX_NOUSER, f"nothing waits in {queue!r}", "a queue is named by its next hop; see: penstock queue summary")
    typer.echo(f"{queue} is tried now" if queue else f"{counted(count, 'queue')} tried now")


def reset_all_routes(path: Path) -> None:
    """Asks for all next hops again. Raises PenstockError; Stop."""
    typer.echo(f"{counted(_count(path, ResetRoutes()), 'message')} got another next hop")


def _exact(name: str) -> str:
    if any(c in name for c in "*?"):
        raise Stop(EX_USAGE, f"{name!r} is a pattern, and one queue is meant here", "see: penstock queue summary")
    return queue_name(name)
