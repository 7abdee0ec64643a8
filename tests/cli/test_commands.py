"""The command line: help that reads well, errors of two lines on standard error, exit codes of sysexits.h, and output that can be piped."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .command import penstock

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = str(ROOT / "examples" / "penstock.toml")
GOOD = """
[server]
hostname = "mx.example.com"
[[listener]]
name = "mx"
address = "127.0.0.1:0"
[domain."example.com"]
deliver = "maildir:mail/{local}"
"""
SHIELD = '[[binding]]\nname = "x"\nsink = "penstock.sinks:ShieldsUp"\n'
ARCHIVE = SHIELD.replace("ShieldsUp", "Archive")


def _config(folder: Path, text: str) -> str:
    path = folder / "penstock.toml"
    path.write_text(text)
    return str(path)


def test_penstock_alone_shows_the_help_and_says_that_a_verb_is_missing() -> None:
    """Help is what a newcomer wants to see; the exit code is for a script that lost its argument."""
    done = penstock()
    assert done.returncode == 64
    for verb in ("serve", "check", "bindings", "send", "spool", "version"):
        assert f"  {verb} " in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2]
    assert "  worker " not in done.stdout
    assert "penstock send --to alice@example.com" in done.stdout


@pytest.mark.parametrize("verb", ["serve", "check", "bindings", "send", "version"])
def test_every_verb_explains_itself_without_colour_or_boxes(verb: str) -> None:
    """--help goes to standard output, is plain text, and succeeds."""
    done = penstock(verb, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: penstock {verb} [OPTIONS]")
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    assert not done.stderr


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["serv"], "no such command 'serv'"),
        (["send"], "missing option '--to'"),
        (["check", "--nope"], "no such option"),
        (["send", "--to", "a@example.com", "--timeout", "soon"], "invalid value for '--timeout'"),
        (["bindings", "-c", EXAMPLE, "--event", "rcpto"], "there is no event 'rcpto'"),
    ],
)
def test_wrong_usage_is_told_in_two_lines_and_exits_with_64(arguments: list[str], what: str) -> None:
    """One line of what is wrong, one of what to do, both on standard error."""
    done = penstock(*arguments)
    assert done.returncode == 64
    first, second = done.stderr.splitlines()
    assert first.startswith(f"penstock: {what}")
    assert second.startswith("  ")
    assert not done.stdout


def test_serve_without_a_configuration_says_how_to_get_one() -> None:
    """The default file is not there on a fresh machine."""
    done = penstock("serve")
    assert done.returncode == 78
    assert "/etc/penstock/penstock.toml: there is no such file" in done.stderr
    assert "examples/penstock.toml" in done.stderr


def test_serve_refuses_what_check_refuses(tmp_path: Path) -> None:
    """A sink that cannot be imported is an error before any socket is opened, with the same words."""
    config = _config(tmp_path, GOOD + '[[binding]]\nname = "x"\nsink = "nowhere:Sink"\n')
    served, checked = penstock("serve", "-c", config), penstock("check", "-c", config)
    assert served.returncode == checked.returncode == 78
    # Beside what serve logs of itself, say that it is run by root.
    assert "".join(line for line in served.stderr.splitlines(True) if not line.startswith("{")) == checked.stderr
    assert "binding.x.sink" in checked.stderr


def test_serve_says_why_it_cannot_listen(tmp_path: Path) -> None:
    """A port that is taken, and an address that this machine does not have."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = penstock("serve", "-c", _config(tmp_path, GOOD.replace(":0", f":{taken.getsockname()[1]}")))
    assert (done.returncode, len(done.stderr.splitlines())) == (78, 2)
    assert "listener.mx.address: cannot listen on 127.0.0.1:" in done.stderr
    assert "another server may be listening there" in done.stderr
    done = penstock("serve", "-c", _config(tmp_path, GOOD.replace("127.0.0.1", "192.0.2.1")))
    assert done.returncode == 78
    assert "this machine does not have that address" in done.stderr


def test_check_counts_what_there_is() -> None:
    """The example is clean."""
    done = penstock("check", "-c", EXAMPLE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok: 7 bindings, 1 listener, 1 domain\n", "")


def test_check_takes_the_file_from_the_environment(tmp_path: Path) -> None:
    """PENSTOCK_CONFIG stands for --config."""
    assert penstock("check", PENSTOCK_CONFIG=_config(tmp_path, GOOD)).returncode == 0


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (GOOD + '[route."example.org"]\nnext_hop = "relay.example:587"\nuser = "u"\npassword = "p"\ntls = "verify"\n', "DNS decides who"),
        (GOOD.partition("[domain")[0], "takes mail for nobody"),
        (GOOD.replace("mail/", "penstock.toml/mail/"), "penstock.toml is not a folder"),
        (GOOD.replace("[[listener]]", 'spool = "penstock.toml"\n[[listener]]'), "server.spool: "),
        (GOOD.replace("mx.example.com", "mailer"), "no full name"),
        (GOOD.replace("127.0.0.1", "192.0.2.1"), "listener.mx.address: this machine does not have the address 192.0.2.1"),
        (GOOD + "[limits]\nrecipients = 5\n", "limits.recipients: "),
        (GOOD + '[retry]\nexpire = "5m"\n', "retry.expire: "),
        (GOOD + SHIELD + "match = { tls = true }\n", "binding.x.match.tls: no listener speaks TLS"),
        (GOOD + SHIELD + "match = { authenticated = true }\n", "binding.x.match.authenticated: "),
        (GOOD + ARCHIVE + 'settings = { directory = "a" }\nmatch = { recipient = "postmaster" }\n', "write 'postmaster@*'"),
        (GOOD + '[domain."exämple.com"]\ndeliver = "discard:"\n', "its ASCII form"),
        (GOOD + SHIELD + 'match = { origin = ["pickup"] }\n', "binding.x.match.origin: no mail is 'pickup'"),
        (GOOD + ARCHIVE + 'settings = { directory = "penstock.toml/x" }\n', "binding.x.settings.directory: "),
        (GOOD + ARCHIVE + 'settings = { directory = "penstock-data/spool/x" }\n', "is in the spool"),
    ],
)
def test_check_warns_of_what_is_allowed_but_hardly_meant(tmp_path: Path, text: str, warning: str) -> None:
    """A warning is on standard error, or in the JSON, and is no failure."""
    config = _config(tmp_path, text)
    done = penstock("check", "-c", config)
    assert (done.returncode, done.stdout[:3]) == (0, "ok:")
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: ")
    assert warning in line
    (told,) = json.loads(penstock("check", "-c", config, "--json").stdout)["warnings"]
    assert f"warning: {told}" == line


STARTING = """
from penstock import Sink, on
from penstock.events import Accepted

class Good(Sink):
    async def start(self):
        print("good starts")

    async def stop(self):
        print("good stops")

    @on(Accepted)
    async def note(self, event): ...

class Bad(Good):
    async def start(self):
        raise ConnectionError("nobody there")

class Gone(Good):
    async def start(self):
        raise SystemExit(0)
"""
BOTH = '[[binding]]\nname = "good"\nsink = "starting:Good"\n[[binding]]\nname = "bad"\nsink = "starting:{}"\n'


def test_check_starts_sinks_only_when_it_is_asked_to(tmp_path: Path) -> None:
    """A start may write or connect; those that were started are stopped, also when another fails."""
    (tmp_path / "starting.py").write_text(STARTING)
    config = _config(tmp_path, GOOD + BOTH.format("Bad"))
    assert penstock("check", "-c", config).stdout.startswith("ok: 7 bindings")
    done = penstock("check", "-c", config, "--start")
    assert (done.returncode, done.stdout) == (78, "good starts\ngood stops\n")
    assert "binding.bad: the sink does not start: ConnectionError: nobody there" in done.stderr
    assert penstock("check", "-c", _config(tmp_path, GOOD + BOTH.format("Gone")), "--start").returncode == 78
    done = penstock("check", "-c", _config(tmp_path, GOOD + BOTH.format("Good")), "--start")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "ok: 7 bindings, 1 listener, 1 domain; all sinks start and stop")


def test_check_with_start_finds_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The error of the sink that ships, with the binding that it is bound by."""
    config = _config(tmp_path, GOOD + ARCHIVE + 'settings = { directory = "penstock.toml/x" }\n')
    done = penstock("check", "-c", config, "--start")
    assert done.returncode == 78
    assert "binding.x: the sink does not start: Archive: directory: " in done.stderr


def test_a_sink_that_is_a_script_does_not_make_check_exit_with_0(tmp_path: Path) -> None:
    """Nor say nothing."""
    (tmp_path / "script.py").write_text("import sys\nsys.exit(0)\n")
    done = penstock("check", "-c", _config(tmp_path, GOOD + '[[binding]]\nname = "x"\nsink = "script:X"\n'))
    assert done.returncode == 78
    assert "it calls sys.exit(0)" in done.stderr


def test_bindings_lists_handlers_in_the_order_in_which_they_are_asked() -> None:
    """Built-in policy and the user's sinks are in one list; JSON has every column."""
    rows = json.loads(penstock("bindings", "-c", EXAMPLE, "--json").stdout)
    asked = [(row["event"], row["order"], row["binding"]) for row in rows]
    assert asked[:2] == [("RcptTo", 1, "relay"), ("RcptTo", 2, "recipients")]
    assert ("Submission", 1, "archive") in asked
    assert ("Submission", 2, "hello") in asked
    hello = next(row for row in rows if row["binding"] == "hello" and row["event"] == "Submission")
    assert hello == {
        "event": "Submission", "order": 2, "priority": 24575, "binding": "hello", "sink": "hello:Hello", "handler": "greet", "mode": "loop",
        "match": "recipient=*@example.com", "on_error": "defer", "timeout": "30s", "state": "active",
        "from": "penstock.toml", "changed_by": "", "changed_at": 0.0,
    }  # fmt: skip


def test_bindings_shows_verbs_by_keyword_and_conditions_of_both_places(tmp_path: Path) -> None:
    """A handler's own condition stands beside that of the binding."""
    (tmp_path / "mine.py").write_text(
        "from penstock import Match, Sink, on\nfrom penstock.events import Accepted, Verb\n"
        "class Mine(Sink):\n"
        "    @on(Verb, keyword='xping', match=Match(helo='*.example'))\n    async def ping(self, event): ...\n"
        "    @on(Accepted, blocking=False)\n    def note(self, event): ...\n"
    )
    config = _config(tmp_path, GOOD + '[[binding]]\nname = "mine"\nsink = "mine:Mine"\nlisteners = ["mx"]\ntimeout = "1m"\n')
    lines = penstock("bindings", "-c", config, "--event", "verb").stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].split("  ")[0] == "Verb XPING"
    assert "listener=mx; helo=*.example" in lines[1]
    accepted = json.loads(penstock("bindings", "-c", config, "--event", "Accepted", "--json").stdout)
    assert [(row["mode"], row["on_error"], row["timeout"]) for row in accepted] == [("inline", "-", "60s")]


def test_a_piped_listing_is_plain_and_one_line_a_row() -> None:
    """No box, no colour, no folding, whatever the width of the terminal was."""
    done = penstock("bindings", "-c", EXAMPLE, COLUMNS="40", FORCE_COLOR="1")
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 9


@pytest.mark.parametrize("colour", [True, False])
def test_on_a_terminal_there_is_a_table_and_no_color_is_honoured(colour: bool) -> None:
    """Colour sequences appear only where they are wanted; bold is no colour."""
    text = _on_terminal("bindings", "-c", EXAMPLE, columns=80, **({} if colour else {"NO_COLOR": "1"}))
    assert "──" in text
    assert "wider terminal" in text
    assert "\x1b[3" not in text
    assert ("sink" in text.split("\n", 2)[1]) is False
    assert "penstock.sinks.relay:Relay" in _on_terminal("bindings", "-c", EXAMPLE, columns=200)


def _on_terminal(*arguments: str, columns: int, **env: str) -> str:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), **env}
    with subprocess.Popen([sys.executable, "-m", "penstock", *arguments], stdout=theirs, env=environment) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # how Linux says that nobody writes any more
                break
            if not piece:
                break
            text += piece
        os.close(ours)
        assert process.wait() == 0
    return text.decode()


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """``penstock bindings | head`` ends without a word."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "bindings", "-c", EXAMPLE], stdout=write, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(write)
    assert done.stderr == b""


def test_version_says_which_and_json_says_more() -> None:
    """Both the verb and the option that many try first."""
    assert penstock("version").stdout == penstock("--version").stdout
    assert set(json.loads(penstock("version", "--json").stdout)) == {"penstock", "python", "system"}


def test_verbs_that_need_no_server_do_not_import_one() -> None:
    """A worker does not pay for the mail client, and version for nothing but itself."""
    code = "import sys, penstock.cli; print(sorted({'smtplib', 'rich', 'penstock.app', 'penstock.supervisor'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not {"smtplib", "penstock.app", "penstock.supervisor"} & set(eval(done.stdout))
