"""What the control socket says of bindings, and that it reloads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.admin.protocol import AnyAnswer, ControlError
from penstock.admin.protocol_bindings import BindingChanged, BindingRow, ChangeBinding, ListBindings, Reload, ReloadRow
from penstock.cli.workers import Workers
from penstock.config import load
from support.server import Server

SINK = """\
from penstock import Sink, on
from penstock.events import ConfigChanged, RcptTo


class Say(Sink):
    @on(RcptTo)
    async def look(self, event: RcptTo) -> None: ...

    @on(ConfigChanged)
    async def told(self, event: ConfigChanged) -> None:
        self.log.info("told of a reload", generation=event.generation, changed=list(event.changed))
"""
BINDING = '[[binding]]\nname = "say"\nsink = "saying:Say"\n'


def _ask(server: Server, question: ListBindings | Reload | ChangeBinding) -> list[AnyAnswer]:
    workers = Workers(load(server.config))
    return list(workers.ask(workers.paths()[0], question))


def _row(server: Server) -> BindingRow:
    return next(a for a in _ask(server, ListBindings()) if isinstance(a, BindingRow) and a.name == "say" and a.event == "RcptTo")


def test_bindings_are_listed_reloaded_and_changed_over_the_control_socket(tmp_path: Path) -> None:
    """Counters go on through a reload; the version is that of the code; who refuses says why."""
    (tmp_path / "saying.py").write_text(SINK)
    with Server(tmp_path, more=BINDING) as server:
        row = _row(server)
        assert (row.handler, row.state, row.generation, row.worker, row.priority) == ("look", "active", 1, "worker-0", 24575)
        assert len(row.version) == 10

        (tmp_path / "saying.py").write_text(SINK + "\nNEW = 1\n")
        reloaded = _ask(server, Reload())[0]
        assert isinstance(reloaded, ReloadRow)
        assert (reloaded.generation, reloaded.changed, reloaded.error) == (2, ["say"], "")
        assert _row(server).version != row.version
        told = server.wait_for_log(lambda line: line["event"] == "told of a reload", "the sink is told")
        assert (told["generation"], told["changed"]) == (2, ["say"])

        refused = _ask(server, Reload(refused="there is a fault"))[0]
        assert isinstance(refused, ReloadRow)
        assert (refused.generation, refused.error) == (2, "there is a fault")

        changed, after, _ = _ask(server, ChangeBinding("set", "say", {"priority": 7}))
        assert isinstance(changed, BindingChanged)
        assert changed.changed
        assert isinstance(after, ReloadRow)
        assert after.generation == 3
        assert _row(server).priority == 7
        with pytest.raises(ControlError) as caught:
            _ask(server, ChangeBinding("set", "nobody", {"priority": 7}))
        assert caught.value.kind == "data"
        assert _row(server).generation == 3
