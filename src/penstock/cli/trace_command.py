"""``penstock trace``: how its command line reads."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import DEFAULT_CONFIG, ConfigOption, JsonOption


def trace(
    what: Annotated[
        str, typer.Argument(metavar="[ID|on|off|reset|status]", help="A message, a session, or what to do.", show_default=False)
    ] = "",
    last: Annotated[int, typer.Option(metavar="N", min=1, help="Without ID: how many of those traced last are listed.")] = 20,
    match: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="With 'on': a condition, as in a binding; may be given several times.")
    ] = None,
    time: Annotated[str, typer.Option("--for", metavar="TIME", help="With 'on': for how long, e.g. 10m.")] = "1h",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to a message, or in a session, and why.

    Event by event: each binding in order, its conditions with what they found, why it was not asked, what it said, how long it took and
    what it changed; and between the events the steps of the message, to the remote server's reply. Without ID it lists what was traced
    last. Works with a running server and without one.

    \b
      penstock trace 1KA9D2M7QRX4T000
      penstock trace on --match recipient='*@example.com' --for 10m
      penstock trace reset                  as [trace] in the configuration says

    'on' traces what meets the conditions, or everything, beside what the configuration says; 'off' nothing at all; 'status' says what is
    traced. Exits with 67 when there is no trace of an ID.
    """
    from .trace import ACTIONS, change_tracing, show_last, show_story

    if what in ACTIONS:
        change_tracing(config, what, tuple(match or ()), time, as_json)
    elif what:
        show_story(config, what, as_json)
    else:
        show_last(config, last, as_json)
