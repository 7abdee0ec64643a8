"""``penstock explain``: how its command line reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..mail.message import Direction, Origin
from .options import DEFAULT_CONFIG, ConfigOption, JsonOption


def explain(
    sender: Annotated[str | None, typer.Option("--from", metavar="ADDRESS", help="The reverse-path; '<>' for the null path.")] = None,
    recipients: Annotated[list[str] | None, typer.Option("--to", metavar="ADDRESS", help="A recipient; may be given again.")] = None,
    client: Annotated[str | None, typer.Option(metavar="IP", help="The client's address.")] = None,
    helo: Annotated[str | None, typer.Option(metavar="NAME", help="What the client calls itself.")] = None,
    listener: Annotated[str | None, typer.Option(metavar="NAME", help="Where it connects; the only one by default.")] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Who logged in; '' for nobody.")] = None,
    tls: Annotated[bool | None, typer.Option("--tls/--no-tls", help="Whether the connection is encrypted.", show_default=False)] = None,
    size: Annotated[int | None, typer.Option(metavar="OCTETS", min=0, help="Of the message.")] = None,
    header: Annotated[list[str] | None, typer.Option(metavar="'NAME: VALUE'", help="A header field; may be given several times.")] = None,
    message: Annotated[Path | None, typer.Option(metavar="FILE", help="A whole message, for its header and size.")] = None,
    origin: Annotated[Origin, typer.Option(help="How it enters.")] = "smtp",
    direction: Annotated[Direction, typer.Option(help="From outside, to outside, or neither.")] = "in",
    verb: Annotated[str, typer.Option(metavar="VERB", help="Of a command that is refused, or that a remote server answers.")] = "",
    code: Annotated[str, typer.Option(metavar="CODE", help="Of that answer: 550, or '550 5.1.1'.")] = "",
    event: Annotated[str, typer.Option(metavar="EVENT", help="Only this event.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Say who would be asked about a message, and why.

    Nothing is run, and no server is needed; one that runs is asked for open breakers and the like. Conditions that depend on what was not
    given are open, and marked with a question mark.

    \b
      penstock explain --from a@example.net --to bob@example.com --client 192.0.2.1
      penstock explain --event ServerResponse --verb MAIL --code 501
    """
    from .explain import Given
    from .explain import explain as run_explain
    from .supposed import Supposed

    supposed = Supposed(
        client=client, helo=helo, listener=listener, user=user, tls=tls, size=size, origin=origin, direction=direction, verb=verb.upper()
    )
    given = Given(sender, tuple(recipients or ()), tuple(header or ()), message, code)
    run_explain(config, supposed, given, event, as_json)
