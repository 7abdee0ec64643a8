"""``penstock explain``: how its command line reads."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import DEFAULT_CONFIG, ConfigOption, JsonOption


def explain(
    sender: Annotated[str | None, typer.Option("--from", metavar="ADDRESS", help="The sender; '' for the null path.")] = None,
    to: Annotated[list[str] | None, typer.Option("--to", metavar="ADDRESS", help="A recipient; may be given several times.")] = None,
    client: Annotated[str | None, typer.Option(metavar="IP", help="The client's address.")] = None,
    helo: Annotated[str | None, typer.Option(metavar="NAME", help="What the client calls itself.")] = None,
    listener: Annotated[str | None, typer.Option(metavar="NAME", help="The listener that it connects to.")] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Who logged in; '' for nobody.")] = None,
    tls: Annotated[bool | None, typer.Option("--tls/--no-tls", help="Whether the connection is encrypted.", show_default=False)] = None,
    size: Annotated[str | None, typer.Option(metavar="SIZE", help="The content's, e.g. 2MiB.")] = None,
    header: Annotated[list[str] | None, typer.Option(metavar="'X: y'", help="A header field; may be given several times.")] = None,
    message: Annotated[str | None, typer.Option(metavar="FILE", help="A message, for header and size; - for standard input.")] = None,
    origin: Annotated[str, typer.Option(metavar="WORD", help="How it enters: smtp, dsn, sink, ...")] = "smtp",
    direction: Annotated[str, typer.Option(metavar="WORD", help="in, out or internal.")] = "in",
    event: Annotated[str, typer.Option(metavar="EVENT", help="Only one event, e.g. RcptTo.")] = "",
    verb: Annotated[str, typer.Option(metavar="VERB", help="Of a command that was refused, or that a remote server answered.")] = "",
    code: Annotated[str, typer.Option(metavar="CODE", help="Of that reply, e.g. 550 or '550 5.1.1'.")] = "",
    run_when: Annotated[bool, typer.Option("--run-when", help="Run 'when' predicates too, which are code of yours.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Say which bindings would run for a message, and which would not, and why.

    In the order of a message's way, event by event: each binding in order, with each condition, what it wants and what it would find.
    What is not given is unknown, and a condition about it is neither met nor not. No handler is run, and no server is needed; a running
    one is asked which breakers are open.

    \b
      penstock explain --from a@client.example --to bob@example.com --client 192.0.2.1
    """
    from .explain import Asking, show_explanation, suppose

    given = {
        "sender": sender, "to": to, "client": client, "helo": helo, "listener": listener, "user": user, "tls": tls, "size": size,
        "header": header, "message": message, "origin": origin, "direction": direction, "verb": verb, "code": code,
    }  # fmt: skip
    show_explanation(config, suppose(given), Asking(event, run_when), as_json)
