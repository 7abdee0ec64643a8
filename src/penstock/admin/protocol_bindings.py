"""Questions about the bindings of a worker, and their answers: how each fares, and that it should read its files again."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .line import Answer, Question

BindingOp = Literal["add", "remove", "enable", "disable", "set", "reset"]


class ListBindings(Question, frozen=True, tag="bindings"):
    """Asks how the bindings fare: ``BindingRow`` lines, in the order in which they are asked."""


class Reload(Question, frozen=True, tag="reload"):
    """Puts what the files say now in force: a ``ReloadRow``.

    Args:
        refused: why there is no sense in trying, as whoever asks has seen already; the worker only notes it. "" to reload.
    """

    refused: str = ""


class ChangeBinding(Question, frozen=True, tag="change-binding"):
    """Changes a binding, and reloads this worker: a ``BindingChanged`` and a ``ReloadRow``. The other workers are to be asked to reload.

    Args:
        action: what, as in ``penstock bindings``.
        name: of the binding; "" for all, with "reset".
        values: by dotted key, as in TOML.
        keys: dotted keys, with "reset".
        replace: with "add", take the place of another one of this name.
    """

    action: BindingOp
    name: str = ""
    values: dict[str, Any] = {}
    keys: list[str] = []
    replace: bool = False


class BindingRow(Answer, frozen=True, tag="binding", kw_only=True):
    """How one handler at one event fares in one worker.

    Args:
        name: of the binding.
        event: of the catalogue.
        handler: the method.
        keyword: of Verb the verb, of Auth the mechanism; "" else.
        priority: of the binding.
        asked: how often it was looked at.
        matched: how often its conditions held.
        verdicts: how often it gave a verdict.
        errors: how often it failed.
        seconds: spent in the handler.
        late: calls that run on after their deadline just now.
        dropped: reports that were not told, since too many waited.
        refused: calls that were not made: breaker open, and the like.
        agreed: with mode "shadow", how often it said the same as what counted.
        differed: how often it did not.
        state: "active", "disabled", "expired", "used up", "breaker open", "shadow", "canary" or "rolled back".
        detail: of the state: when the breaker tries again, or why the canary was taken back.
        version: of the sink's code.
        generation: of the bindings.
        last_error: what went wrong last, "" for nothing.
        worker: whose view it is.
    """

    name: str
    event: str
    handler: str
    keyword: str = ""
    priority: int = 0
    asked: int = 0
    matched: int = 0
    verdicts: int = 0
    errors: int = 0
    seconds: float = 0.0
    late: int = 0
    dropped: int = 0
    refused: int = 0
    agreed: int = 0
    differed: int = 0
    state: str = "active"
    detail: str = ""
    version: str = ""
    generation: int = 0
    last_error: str = ""
    worker: str = ""


class ReloadRow(Answer, frozen=True, tag="reloaded", kw_only=True):
    """What came of a reload.

    Args:
        worker: which.
        generation: the number of the one in force now; each worker counts its own.
        changed: names of bindings that are new, gone, or not what they were.
        restart: keys of the configuration that changed, and that only a restart takes up.
        error: why the old generation runs on; "" when it does not.
        hint: what to do about that.
    """

    worker: str
    generation: int
    changed: list[str] = []
    restart: list[str] = []
    error: str = ""
    hint: str = ""


class BindingChanged(Answer, frozen=True, tag="binding-changed"):
    """What became of a change.

    Args:
        changed: whether anything is different now.
        what: in one sentence.
        notes: what else there is to know, a sentence each.
    """

    changed: bool
    what: str
    notes: list[str] = msgspec.field(default_factory=list)
