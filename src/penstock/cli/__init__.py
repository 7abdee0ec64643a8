"""The command ``penstock``: verbs, exit codes, and errors that say what is wrong and what to do.

This module only knows how a command line reads. Each verb is imported when it is called, so that a worker process does not pay for the mail
client, and ``penstock version`` not for the server. Click's own way to show errors is switched off: it knows neither sysexits nor our form.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError, PenstockError
from .bindings_commands import bindings
from .capture import capture
from .exits import EX_CONFIG, EX_UNAVAILABLE, EX_USAGE, INTERRUPTED, Stop, complain
from .explain_command import explain
from .faces import FACES, face
from .options import DEFAULT_CONFIG, ConfigOption, JsonOption
from .queue import queue
from .sink_new import sink
from .sinks_command import sinks
from .spool import spool
from .trace_command import trace
from .user_command import user

_EXIT_CODES = """\b
Exit codes (sysexits.h): 0 done, 64 usage, 65 data, 66 no input, 67 no such user or
message, 69 unavailable, 75 try again later, 77 no permission, 78 configuration."""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


@app.callback(invoke_without_command=True)
def penstock(
    context: typer.Context, show_version: Annotated[bool, typer.Option("--version", help="Say which version this is, and exit.")] = False
) -> None:
    """Penstock, a mail server whose behaviour is written in Python.

    \b
    A first try, in the source tree:
      penstock serve --config examples/penstock.toml    run a server
      penstock send --to alice@example.com              send it a message

    'penstock VERB --help' says more. --config may be left out when PENSTOCK_CONFIG names
    the file, or it is /etc/penstock/penstock.toml, or penstock.toml here.
    """
    if show_version:
        version(as_json=False)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(EX_USAGE)


@app.command()
def serve(
    config: ConfigOption = DEFAULT_CONFIG,
    ready_fd: Annotated[
        int | None, typer.Option(metavar="FD", help="A descriptor to write one JSON line to when all workers accept.")
    ] = None,
) -> None:
    """Run the server, until SIGTERM or Ctrl-C.

    It stays in the foreground. Clients' transactions may finish first, for as long as 'drain' in [server] says.
    """
    from ..config import load
    from ..observe.log import set_up
    from ..supervisor import run

    loaded = load(config)
    set_up(loaded.log.level, loaded.log.format, process="supervisor")
    raise typer.Exit(run(loaded, ready_fd))


@app.command(hidden=True)
def worker(
    config: ConfigOption,
    number: Annotated[int, typer.Option()],
    count: Annotated[int, typer.Option()],
    life: Annotated[int, typer.Option()],
    ready: Annotated[int, typer.Option()],
    sockets: Annotated[list[str], typer.Option("--socket")],
) -> None:
    """Run one worker; started by the supervisor."""
    import socket

    import uvloop

    from ..app import WorkerPlace, run_worker
    from ..config import load
    from ..events.handed import handed
    from ..observe.log import get_log, set_up

    # Now, and not when a key is first needed: no process of a sink is to hear of it.
    handed()

    loaded = load(config)
    set_up(loaded.log.level, loaded.log.format, process=f"worker-{number}")
    named = [fd.partition("=") for fd in sockets]
    place = WorkerPlace(number, count, tuple((name, socket.socket(fileno=int(fd))) for fd, _, name in named))
    try:
        uvloop.run(run_worker(loaded, place, life, ready))
    except PenstockError as error:
        get_log().error("worker cannot start", error=str(error))
        raise typer.Exit(EX_CONFIG) from None


@app.command()
def check(
    config: ConfigOption = DEFAULT_CONFIG,
    start: Annotated[bool, typer.Option("--start", help="Start and stop each sink, too; this may write, and connect.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a configuration file and its sinks.

    Imports the sinks, makes them with their settings and binds them, as 'serve' does first. Warns of folders that this user cannot write
    and of addresses that this machine does not have. Nothing is written, and no port is opened. Exits with 78 when something is wrong.
    """
    from .check import check as run_check

    run_check(config, start, as_json)


@app.command()
def send(
    to: Annotated[list[str], typer.Option("--to", metavar="ADDRESS", help="A recipient; may be given several times.")],
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="The server.")] = "127.0.0.1:2525",
    sender: Annotated[str, typer.Option("--from", metavar="ADDRESS", help="The sender; '' for the null path.")] = "you@client.example",
    subject: Annotated[str | None, typer.Option(metavar="TEXT", help="The subject.")] = None,
    body: Annotated[str | None, typer.Option(metavar="TEXT", help="The text; - reads it from standard input.")] = None,
    file: Annotated[str | None, typer.Option(metavar="FILE", help="A whole message to send as it is; - for standard input.")] = None,
    header: Annotated[list[str] | None, typer.Option(metavar="'X: y'", help="A header field to add; may be given several times.")] = None,
    helo: Annotated[str, typer.Option(metavar="NAME", help="What the client calls itself.")] = "client.example",
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How long to wait for each reply.")] = 60.0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the dialogue, on standard error.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Send a message to a server, to try it out.

    Prints the server's reply, which holds the queue id. Exits with 67 for a recipient that does not exist, 69 for another refusal or
    when no server answers, 75 when the server says to try again later.
    """
    from .letter import Words, write
    from .send import Route
    from .send import send as run_send

    words = Words(subject, body, file, tuple(header or ()))
    run_send(Route.parse(server, helo, timeout), write(sender, to, words, helo), verbose, as_json)


app.add_typer(bindings, name="bindings")
app.add_typer(capture, name="capture")
app.command("sinks")(sinks)
app.command("explain")(explain)
app.command("trace")(trace)
app.add_typer(queue, name="queue")
app.add_typer(spool, name="spool")
app.add_typer(sink, name="sink")
app.add_typer(user, name="user")


@app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Say how the workers of the running server are."""
    from .queue_counted import show_status

    show_status(config, as_json)


@app.command()
def reload(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Have the running server take up what changed.

    That is bindings, settings, and the code of sinks. No connection is dropped: sessions under way end with what they began with, new
    ones get the new. Exits with 78 when the files are
    broken, and the server runs on as before; with 75 when only some of the workers could reload; with 69 when no server is running.
    """
    from .reload import run_reload

    run_reload(config, as_json)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Captured sessions.")],
    bindings_file: Annotated[
        Path | None, typer.Option("--bindings", metavar="TOML", help="The bindings to try; without it, today's against the recording.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    without: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A binding to leave out on both sides; may be given several times.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show how today differs from the recording, and the log.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say captured sessions again, to other bindings too.

    Shows where today's bindings and others differ. Offline: nothing is delivered or sent by the server. But sinks are really run: one
    that writes or connects does so, unless --without leaves it out. Exits with 0 when nothing differs, with 1 when something does.
    """
    from .replay import Options
    from .replay import replay as run_replay

    raise typer.Exit(run_replay(file, Options(config, bindings_file, tuple(without or ()), as_json, verbose)))


@app.command()
def version(as_json: JsonOption = False) -> None:
    """Say which version this is."""
    import json
    import platform

    from .. import __version__

    if as_json:
        typer.echo(json.dumps({"penstock": __version__, "python": platform.python_version(), "system": platform.platform()}))
    else:
        typer.echo(f"penstock {__version__} (Python {platform.python_version()})")


@app.command("sendmail", add_help_option=False)
@app.command("mailq", add_help_option=False)
@app.command("newaliases", add_help_option=False)
def compatible() -> None:
    """Do what the command of this name does on other mail servers."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; the exit code. Every error of ours becomes one line of what is wrong and one of what to do."""
    try:
        if arguments and arguments[0] in FACES:
            return face(arguments[0], arguments[1:])
        result = app(args=list(arguments), prog_name="penstock", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except Stop as stop:
        return complain(stop.code, stop.what, stop.hint)
    except ConfigError as error:
        return complain(EX_CONFIG, f"{error.where}: {error.what}", error.hint)
    except PenstockError as error:
        return complain(EX_UNAVAILABLE, str(error))
    except UsageError as error:
        context = getattr(error, "ctx", None)
        what = getattr(error, "format_message", error.__str__)()
        return complain(EX_USAGE, what[:1].lower() + what[1:].rstrip("."), f"see: {context.command_path if context else 'penstock'} --help")
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED


def main() -> None:
    """The entry point; called through a link named sendmail, mailq or newaliases it does what that does."""
    name = Path(sys.argv[0]).name
    sys.exit(run([name, *sys.argv[1:]] if name in FACES else sys.argv[1:]))
