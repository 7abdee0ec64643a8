"""``penstock queue``: how its command lines read. The work is in ``queue_shown.py`` and ``queue_changed.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from .exits import EX_USAGE
from .options import DEFAULT_CONFIG, ConfigOption, JsonOption

queue = typer.Typer(rich_markup_mode=None)
Id = Annotated[str, typer.Argument(metavar="ID", help="The queue id, as the client and the log were told it.", show_default=False)]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Queue ids.", show_default=False)]
Name = Annotated[str, typer.Argument(metavar="QUEUE", help="A queue, such as mx:example.com, or just the domain.", show_default=False)]
InQueue = Annotated[str, typer.Option("--queue", "-q", metavar="QUEUE", help="In this queue; * and ? stand for any text and character.")]
Sender = Annotated[
    str, typer.Option("--sender", metavar="ADDRESS", help="From this address or domain; '<>' for reports; * and ? as above.")
]
Recipient = Annotated[str, typer.Option("--recipient", metavar="ADDRESS", help="With such a recipient, in the same way.")]
Older = Annotated[str, typer.Option("--older-than", metavar="AGE", help="Received at least so long ago: 30m, 4h, 2d.")]
Younger = Annotated[str, typer.Option("--younger-than", metavar="AGE", help="Received at most so long ago.")]
Held = Annotated[bool | None, typer.Option("--held/--not-held", help="Held, or not held.", show_default=False)]
Stage = Annotated[str, typer.Option("--stage", metavar="STAGE", help="At this stage, e.g. routed.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Held or deferred for a reason with this text in it.")]
Larger = Annotated[str, typer.Option("--larger-than", metavar="SIZE", help="At least so large: 64k, 10 MiB.")]
Smaller = Annotated[str, typer.Option("--smaller-than", metavar="SIZE", help="At most so large.")]
Every = Annotated[bool, typer.Option("--all", help="All messages, when nothing else is said.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it to all that match, without ids.")]


@dataclass(frozen=True, slots=True)
class Words:
    """Which messages, as the command line says it; what is empty asks nothing."""

    ids: list[str] | None = None
    queue: str = ""
    sender: str = ""
    recipient: str = ""
    older: str = ""
    younger: str = ""
    held: bool | None = None
    stage: str = ""
    reason: str = ""
    larger: str = ""
    smaller: str = ""


@queue.callback(invoke_without_command=True)
def queue_(context: typer.Context) -> None:
    """Look at the mail of the running server, and change it.

    Messages are named by their ids, or by conditions, all of which must hold. Run it as the server's user, or root. For a server that is
    stopped there is 'penstock spool'.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(EX_USAGE)


@queue.command("list")
def list_(
    ids: Ids = None, in_queue: InQueue = "", sender: Sender = "", recipient: Recipient = "", older_than: Older = "",
    younger_than: Younger = "", held: Held = None, stage: Stage = "", reason: Reason = "", larger_than: Larger = "",
    smaller_than: Smaller = "", limit: Annotated[int, typer.Option(metavar="NUMBER", min=0, help="At most so many; 0 for all.")] = 0,
    config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """List messages, oldest first.

    With --json each is one line, with the field names of 'postqueue -j' and some more.
    """
    from .queue_shown import show_list

    words = Words(ids, in_queue, sender, recipient, older_than, younger_than, held, stage, reason, larger_than, smaller_than)
    show_list(config, words, limit, as_json)


@queue.command()
def show(message: Id, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show all that is known of one message."""
    from .queue_shown import show_one

    show_one(config, message, as_json)


@queue.command()
def cat(message: Id, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Write one message to standard output, octet for octet, with what sinks edited."""
    from .queue_shown import write_one

    write_one(config, message)


@queue.command()
def summary(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Say how much is in which queue, and since when."""
    from .queue_counted import show_summary

    show_summary(config, as_json)


@queue.command()
def destinations(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Say how it goes with each queue: its state, sessions, last error and next try."""
    from .queue_counted import show_destinations

    show_destinations(config, as_json)


@queue.command()
def shape(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Count messages by queue and age in minutes, as Postfix's qshape does. Reads every message."""
    from .queue_counted import show_shape

    show_shape(config, as_json)


@queue.command()
def hold(
    ids: Ids = None, in_queue: InQueue = "", sender: Sender = "", recipient: Recipient = "", older_than: Older = "",
    younger_than: Younger = "", stage: Stage = "", reason: Reason = "", larger_than: Larger = "", smaller_than: Smaller = "",
    text: Annotated[str, typer.Option("--text", metavar="WHY", help="Why; shown in listings.")] = "", every: Every = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:  # fmt: skip
    """Keep messages from all further work until they are released."""
    from .queue_changed import Wish, change

    words = Words(ids, in_queue, sender, recipient, older_than, younger_than, False, stage, reason, larger_than, smaller_than)
    change(config, Wish("hold", text=text), words, every)


@queue.command()
def release(
    ids: Ids = None, in_queue: InQueue = "", sender: Sender = "", recipient: Recipient = "", older_than: Older = "",
    younger_than: Younger = "", stage: Stage = "", reason: Reason = "", larger_than: Larger = "", smaller_than: Smaller = "",
    every: Every = False, config: ConfigOption = DEFAULT_CONFIG,
) -> None:  # fmt: skip
    """Let held messages go on, now."""
    from .queue_changed import Wish, change

    words = Words(ids, in_queue, sender, recipient, older_than, younger_than, True, stage, reason, larger_than, smaller_than)
    change(config, Wish("release"), words, every)


@queue.command()
def retry(
    ids: Ids = None, in_queue: InQueue = "", sender: Sender = "", recipient: Recipient = "", older_than: Older = "",
    younger_than: Younger = "", stage: Stage = "", reason: Reason = "", larger_than: Larger = "", smaller_than: Smaller = "",
    every: Every = False, config: ConfigOption = DEFAULT_CONFIG,
) -> None:  # fmt: skip
    """Try deferred messages now; held ones stay held."""
    from .queue_changed import Wish, change

    words = Words(ids, in_queue, sender, recipient, older_than, younger_than, False, stage, reason, larger_than, smaller_than)
    change(config, Wish("retry"), words, every)


@queue.command()
def remove(
    ids: Ids = None, in_queue: InQueue = "", sender: Sender = "", recipient: Recipient = "", older_than: Older = "",
    younger_than: Younger = "", held: Held = None, stage: Stage = "", reason: Reason = "", larger_than: Larger = "",
    smaller_than: Smaller = "", yes: Yes = False, every: Every = False, config: ConfigOption = DEFAULT_CONFIG,
) -> None:  # fmt: skip
    """Delete messages for good. No sender is told."""
    from .queue_changed import Wish, change

    words = Words(ids, in_queue, sender, recipient, older_than, younger_than, held, stage, reason, larger_than, smaller_than)
    change(config, Wish("remove", yes=yes), words, every)


@queue.command()
def bounce(
    ids: Ids = None, in_queue: InQueue = "", sender: Sender = "", recipient: Recipient = "", older_than: Older = "",
    younger_than: Younger = "", held: Held = None, stage: Stage = "", reason: Reason = "", larger_than: Larger = "",
    smaller_than: Smaller = "", yes: Yes = False, every: Every = False,
    text: Annotated[str, typer.Option("--text", metavar="WHY", help="Why; the sender reads it.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:  # fmt: skip
    """Give messages up, and tell their senders that they failed."""
    from .queue_changed import Wish, change

    words = Words(ids, in_queue, sender, recipient, older_than, younger_than, held, stage, reason, larger_than, smaller_than)
    change(config, Wish("bounce", text=text, yes=yes), words, every)


@queue.command()
def reroute(
    next_hop: Annotated[str, typer.Argument(metavar="NEXTHOP", help="Such as [relay.example]:25 or mx:example.org.", show_default=False)],
    ids: Ids = None, in_queue: InQueue = "", sender: Sender = "", recipient: Recipient = "", older_than: Older = "",
    younger_than: Younger = "", held: Held = None, stage: Stage = "", reason: Reason = "", larger_than: Larger = "",
    smaller_than: Smaller = "", every: Every = False, config: ConfigOption = DEFAULT_CONFIG,
) -> None:  # fmt: skip
    """Send messages to another next hop, whatever the routes say."""
    from .queue_changed import Wish, change

    words = Words(ids, in_queue, sender, recipient, older_than, younger_than, held, stage, reason, larger_than, smaller_than)
    change(config, Wish("reroute", next_hop=next_hop), words, every)


@queue.command()
def suspend(
    name: Name,
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="For so long; without it until 'resume', or a new start.")] = "",
    text: Annotated[str, typer.Option("--text", metavar="WHY", help="Why; shown by 'destinations'.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Begin nothing more in a queue; what is under way is finished."""
    from .queue_changed import suspend_queue

    suspend_queue(config, name, duration, text)


@queue.command()
def resume(name: Name, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """End the suspension of a queue."""
    from .queue_changed import resume_queue

    resume_queue(config, name)


@queue.command()
def flush(
    name: Annotated[str, typer.Argument(metavar="[QUEUE]", help="A queue; all without one.", show_default=False)] = "",
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Try now what waits in a queue, or in all of them, whatever its time."""
    from .queue_changed import flush_queues

    flush_queues(config, name)


@queue.command("reset-routes")
def reset_routes(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Ask for the next hop of everything that is queued again."""
    from .queue_changed import reset_all_routes

    reset_all_routes(config)
