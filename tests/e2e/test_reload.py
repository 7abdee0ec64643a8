"""A reload changes bindings, settings and code of sinks under load; no connection is dropped, and what fails changes nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.load import BackgroundLoad, Plan
from support.server import Server
from support.waiting import wait_until

from .reloading import BINDING, client_of, reload, status, word_of, write_sinks, write_word


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Two workers with the sink at version one."""
    write_sinks(tmp_path)
    with Server(tmp_path, workers=2, more=BINDING) as running:
        yield running


def test_a_session_keeps_the_code_that_it_began_with_and_the_next_one_has_the_new(server: Server, tmp_path: Path) -> None:
    """A changed helper module of the sink is enough."""
    old = client_of(server)
    write_word(tmp_path, "two")
    done = reload(server)
    assert [(row["generation"], row["changed"]) for row in done["workers"]] == [(2, ["stamp"]), (2, ["stamp"])]
    new = client_of(server)
    assert (word_of(old), word_of(new)) == ("one", "two")
    for client in (old, new):
        client.sendmail("a@client.example", ["alice@example.com"], "Subject: x\r\n\r\nHello.\r\n")
        client.quit()
    server.wait_for_log(lambda line: line["event"] == "an old generation is over", "the old sinks are stopped")
    wait_until(lambda: [row["retiring"] for row in status(server)] == [0, 0], "no old generation is left")
    assert not (tmp_path / "mixed").exists()


def test_nothing_is_lost_or_mixed_while_thirty_reloads_go_through_a_full_load(server: Server, tmp_path: Path) -> None:
    """20 connections send without pause; each session is handled by one version from its banner to its end."""
    with BackgroundLoad(Plan(sessions=20, size=1000, per_session=7), server.address) as load:
        for number in range(30):
            write_word(tmp_path, ("one", "two")[number % 2])
            reload(server)
        results = load.stop()
    acknowledged = {token: found.digest for token, found in results.acknowledged.items()}
    assert len(acknowledged) > 100
    server.mailboxes.wait_for(acknowledged)
    compared = server.mailboxes.compare(acknowledged)
    assert not compared.missing
    assert not compared.corrupt
    assert not compared.duplicates
    assert not (tmp_path / "mixed").exists(), (tmp_path / "mixed").read_text()
    assert not results.summary().get("broken"), results.summary()
    assert all(row["generation"] >= 30 for row in status(server))
    wait_until(lambda: all(row["retiring"] == 0 for row in status(server)), "no old generation is left", 20)


def test_a_hangup_signal_reloads(server: Server, tmp_path: Path) -> None:
    """As administrators of other servers do it; two in a row are two reloads, one after the other."""
    write_word(tmp_path, "two")
    os.kill(server.supervisor, signal.SIGHUP)
    server.wait_for_log(lambda line: line["event"] == "reload done", "the reload is done", 20)
    assert word_of(client_of(server)) == "two"
    (tmp_path / "words.py").write_text("WORD =\n")
    os.kill(server.supervisor, signal.SIGHUP)
    failed = server.wait_for_log(lambda line: line["event"] == "reload failed" and line["process"] == "supervisor", "it failed", 20)
    assert "words.py, line 1" in failed["error"]
    assert word_of(client_of(server)) == "two"


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("words.py", "SyntaxError"),
        ("stamper.py", "SyntaxError"),
        ("penstock.toml", "this is not TOML"),
    ],
)
def test_broken_files_leave_the_old_generation_in_force_and_say_why(server: Server, tmp_path: Path, broken: str, why: str) -> None:
    """In the exit code and words of the command, in the log, and in the status; when they are mended it reloads."""
    path = tmp_path / broken
    before = path.read_text()
    path.write_text("def (:\n")
    if broken == "penstock.toml":
        # What can still be read says where the server is.
        path.write_text(before + "def (:\n")
    said = reload(server, 78)["error"]
    assert why in said
    assert "the server runs on as before" in said
    assert all(why in row["last_error"] and row["generation"] == 1 for row in status(server))
    assert server.wait_for_log(lambda line: line["event"] == "reload refused, the old generation runs on", "why")["level"] == "error"
    assert word_of(client_of(server)) == "one"
    path.write_text(before)
    reload(server)
    assert all(row["last_error"] == "" and row["generation"] == 2 for row in status(server))


def test_a_sink_that_does_not_start_leaves_all_workers_as_they_are(server: Server, tmp_path: Path) -> None:
    """Only a worker can find that; the first one does, and the others are not even tried."""
    with (tmp_path / "stamper.py").open("a") as file:
        file.write("\n    async def start(self) -> None:\n        raise OSError('no such database')\n")
    write_word(tmp_path, "two")
    said = reload(server, 78)["error"]
    assert "does not start: OSError: no such database" in said
    assert word_of(client_of(server)) == "one"
    assert all("no such database" in row["last_error"] for row in status(server))


def test_when_one_worker_cannot_reload_it_is_told_and_may_be_said_again(server: Server, tmp_path: Path) -> None:
    """The second worker finds the lock of the first one; the exit code says to try again."""
    lock = tmp_path / "lock"
    with (tmp_path / "stamper.py").open("a") as file:
        file.write(f"\n    async def start(self) -> None:\n        open({str(lock)!r}, 'x').close()\n")
    said = reload(server, 75)
    assert "reloaded in worker-0, and not in others: worker-1" in said["error"]
    assert sorted(row["generation"] for row in status(server)) == [1, 2]
    lock.unlink()
    reload(server)
    assert all(not row["last_error"] for row in status(server))


def test_a_verb_that_a_reload_brings_is_offered_to_new_sessions_alone(server: Server, tmp_path: Path) -> None:
    """EHLO offers what the session's own generation has, and the verb is known where it is offered."""
    old = client_of(server)
    (tmp_path / "verbs.py").write_text(
        "from penstock import Sink, on\nfrom penstock.events import Verb\nfrom penstock.verdicts import Respond\n\n\n"
        "class New(Sink):\n    @on(Verb, keyword='XNEW', advertise='XNEW')\n"
        "    async def answer(self, event: Verb) -> Respond:\n        return Respond(250, '2.0.0', 'new')\n"
    )
    server.configure(BINDING + '\n[[binding]]\nname = "new"\nsink = "verbs:New"\n')
    reload(server)
    new = client_of(server)
    assert b"XNEW" in new.ehlo("a.example")[1]
    assert new.docmd("XNEW")[0] == 250
    assert b"XNEW" not in old.ehlo("a.example")[1]
    assert old.docmd("XNEW")[0] == 500
    server.configure(BINDING)
    reload(server)
    assert new.docmd("XNEW")[0] == 250
    assert client_of(server).docmd("XNEW")[0] == 500


def test_what_only_a_restart_takes_up_is_named(server: Server) -> None:
    """Limits hold for the next session; listeners and the spool are what they were."""
    text = server.config.read_text().replace("[limits]", "[limits]\nrecipients = 1").replace("127.0.0.1:0", "127.0.0.1:1")
    server.config.write_text(text.replace("workers = 2", "workers = 3").replace("spool =", 'bindings = "bindings.d"\nspool ='))
    (server.folder / "bindings.d").mkdir()
    done = reload(server, 75)
    assert {"listener", "server.workers"} == {key for row in done["workers"] for key in row["restart"]}
    client = client_of(server)
    client.ehlo("a.example")
    client.mail("a@client.example")
    assert client.rcpt("alice@example.com")[0] == 250
    assert client.rcpt("bob@example.com")[0] == 452


def test_reloads_at_once_come_one_after_the_other(server: Server, tmp_path: Path) -> None:
    """Two administrators, and a signal."""
    write_word(tmp_path, "two")
    threads = [threading.Thread(target=reload, args=(server,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    os.kill(server.supervisor, signal.SIGHUP)
    for thread in threads:
        thread.join()
    server.wait_for_log(lambda line: line["event"] == "reload done", "the reload is done", 20)
    assert word_of(client_of(server)) == "two"
    assert [row["generation"] for row in status(server)] == [5, 5]
    assert not any("Traceback" in str(line) for line in server.log())


def test_mail_goes_on_without_the_binding_that_a_reload_took_out(server: Server, tmp_path: Path) -> None:
    """A message that waits in the middle of a sink's stage ends there, and those that come later never see it."""
    (tmp_path / "slow.py").write_text(
        "import asyncio\nfrom pathlib import Path\nfrom penstock import Sink, on\nfrom penstock.events import Submission\n\n\n"
        "class Slow(Sink):\n    @on(Submission)\n    async def wait(self, event: Submission) -> None:\n"
        "        self.log.info('waiting')\n"
        "        while not (Path(__file__).parent / 'go').exists():\n            await asyncio.sleep(0.02)\n"
        "        event.message.header.add('X-Slow', 'yes')\n"
        "    async def stop(self) -> None:\n        self.log.info('slow is stopped')\n"
    )
    server.configure(BINDING + '\n[[binding]]\nname = "slow"\nsink = "slow:Slow"\n')
    reload(server)
    client = client_of(server)
    client.sendmail("a@client.example", ["held@example.com"], "Subject: x\r\n\r\nHello.\r\n")
    client.quit()
    server.wait_for_log(lambda line: line["event"] == "waiting", "the sink waits")
    server.configure(BINDING)
    (tmp_path / "slow.py").unlink()
    reload(server)
    client = client_of(server)
    client.sendmail("a@client.example", ["free@example.com"], "Subject: x\r\n\r\nHello.\r\n")
    client.quit()
    boxes = server.mail / "example.com"
    wait_until(lambda: list((boxes / "free").glob("new/*")), "the later message is there")
    assert not list((boxes / "held").glob("new/*"))
    assert sum(row["retiring"] for row in status(server)) == 1
    (tmp_path / "go").touch()
    held = wait_until(lambda: list((boxes / "held").glob("new/*")), "the message that waited is there")
    assert b"X-Slow: yes" in held[0].read_bytes()
    server.wait_for_log(lambda line: line["event"] == "slow is stopped", "the old sink is stopped")


def test_a_worker_that_dies_while_the_files_are_broken_comes_back_when_they_are_mended(server: Server, tmp_path: Path) -> None:
    """Nothing that it had loaded is left, so it cannot; the log says so, the other worker serves, and a reload is tried at once."""
    (tmp_path / "words.py").write_text("WORD =\n")
    reload(server, 78)
    server.kill_worker(0)
    said = server.wait_for_log(lambda line: line["event"] == "worker cannot come back while the files are broken", "why it stays away", 20)
    assert said["worker"] == 0
    assert server.wait_for_log(lambda line: line["event"] == "worker cannot start", "what is broken")["error"].count("words.py, line 1")
    others = server.children()
    assert server.workers[1] in others
    server.wait_for_log(lambda line: line.get("restart_in", 0) >= 4, "it is tried seldom", 30)
    write_word(tmp_path, "two")
    os.kill(server.supervisor, signal.SIGHUP)
    server.wait_for_log(lambda line: line["event"] == "worker is back", "the worker is back", 20)
    wait_until(lambda: len(status(server)) == 2, "both answer", 20)
    assert {word_of(client_of(server)) for _ in range(20)} == {"two"}


def test_a_worker_that_dies_after_the_listeners_changed_serves_those_that_there_are(server: Server, tmp_path: Path) -> None:
    """The supervisor has the sockets, and says which is whose."""
    text = server.config.read_text().replace("[[listener]]", '[[listener]]\nname = "new"\naddress = "127.0.0.1:0"\n\n[[listener]]', 1)
    server.config.write_text(text)
    assert {key for row in reload(server)["workers"] for key in row["restart"]} == {"listener"}
    server.kill_worker(0)
    server.wait_for_log(lambda line: line["event"] == "worker is back", "the worker is back", 20)
    assert [list(row["listeners"]) for row in status(server)] == [["mx"], ["mx"]]
    assert {word_of(client_of(server)) for _ in range(20)} == {"one"}


def test_a_sink_in_a_process_of_its_own_gets_a_new_process_with_new_code(server: Server, tmp_path: Path) -> None:
    """One that did not change keeps its process; the old one of the other ends with its generation."""
    (tmp_path / "apart.py").write_text(
        "import os\nfrom penstock import Sink, on\nfrom penstock.events import Verb\nfrom penstock.verdicts import Respond\n"
        "from words import WORD\n\n\nclass Apart(Sink):\n    @on(Verb, keyword='XWHO')\n"
        "    async def who(self, event: Verb) -> Respond:\n        return Respond(250, '2.0.0', f'{WORD} {os.getpid()}')\n"
    )
    server.configure(BINDING + '\n[[binding]]\nname = "apart"\nsink = "apart:Apart"\nrun_in = "process"\n')
    reload(server)
    old = client_of(server)
    word, pid = old.docmd("XWHO")[1].split()[-2:]
    assert word == b"one"
    reload(server)
    several = [client_of(server) for _ in range(12)]
    assert pid in {client.docmd("XWHO")[1].split()[-1] for client in several}
    for client in several:  # while one is open, the generation that it began with is in use
        client.quit()
    write_word(tmp_path, "two")
    reload(server)
    new = client_of(server)
    assert new.docmd("XWHO")[1].split()[-2] == b"two"
    assert old.docmd("XWHO")[1].split()[-2:] == [word, pid]
    for client in (old, new):
        client.quit()
    wait_until(lambda: not Path(f"/proc/{int(pid)}").exists(), "the old process ends", 20)
