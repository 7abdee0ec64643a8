"""Bindings are checked whole before anything runs: what could never fire or answer is refused with the place and the reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from events.harness import Harness
from penstock import Match, Sink, on
from penstock.errors import ConfigError
from penstock.events import Accepted, Ehlo, Event, Helo, MailFrom, RcptTo, Submission, Verb
from penstock.events.binding import Bindings
from penstock.events.plug import BUILT_IN, DEFAULT, Plug
from penstock.events.sink import marks_of, settings_type
from penstock.verdicts import Bounce, Delivered, Disconnect, Reject, Respond


class Fine(Sink):
    @on(RcptTo)
    async def check(self, event: RcptTo) -> Reject | None: ...


def refusal(sink: Sink[Any], **settings: Any) -> str:
    """Why a binding is refused."""
    with pytest.raises(ConfigError) as caught:
        Bindings([Plug("mine", sink, where="penstock.toml: binding.mine", **settings)])
    return str(caught.value)


def test_a_handler_bound_to_an_event_that_it_does_not_take_is_refused_with_both_names() -> None:
    class Wrong(Sink):
        @on(RcptTo)
        async def check(self, event: MailFrom) -> None: ...

    text = refusal(Wrong())
    assert "penstock.toml: binding.mine: test_a_handler_bound" in text
    assert "Wrong.check" in text
    assert "bound to RcptTo but takes MailFrom" in text
    assert "it should be (self, event: RcptTo) -> Reject | Defer | Disconnect | Rewrite | Discard | None" in text


@pytest.mark.parametrize("annotation", [int, str, Reject])
def test_a_handler_that_takes_no_event_at_all_is_refused(annotation: type) -> None:
    async def check(self: Any, event: Any) -> None: ...

    check.__annotations__["event"] = annotation
    sink = type("Wrong", (Sink,), {"check": on(RcptTo)(check)})
    assert f"takes {annotation.__name__}" in refusal(sink())


@pytest.mark.parametrize("annotation", [RcptTo, Event, RcptTo | MailFrom, Any, None])
def test_a_handler_may_name_its_event_a_base_a_union_or_nothing(annotation: Any) -> None:
    async def check(self, event): ...  # type: ignore[no-untyped-def]

    if annotation is not None:
        check.__annotations__["event"] = annotation
    sink = type("Right", (Sink,), {"check": on(RcptTo)(check)})
    assert len(Harness.of(sink()).bindings.chain(RcptTo)) == 1


@pytest.mark.parametrize("answer", [Delivered, Bounce | None, bool, int | None, str, Reject | Delivered])
def test_an_answer_that_the_event_does_not_admit_is_refused(answer: Any) -> None:
    async def check(self: Any, event: RcptTo) -> None: ...

    check.__annotations__["return"] = answer
    sink = type("Wrong", (Sink,), {"check": on(RcptTo)(check)})
    assert "RcptTo cannot be answered with" in refusal(sink())


def test_a_report_cannot_be_answered_at_all() -> None:
    class Answers(Sink):
        @on(Accepted)
        async def check(self, event: Accepted) -> Reject: ...  # type: ignore[empty-body]

    assert "Accepted cannot be answered with Reject" in refusal(Answers())


def test_two_bindings_of_one_name_are_refused_and_both_places_named() -> None:
    with pytest.raises(ConfigError) as caught:
        Bindings([Plug("a", Fine(), where="one.toml: binding.a"), Plug("a", Fine(), where="two.toml: binding.a")])
    assert "one.toml: binding.a" in str(caught.value)
    assert "two.toml: binding.a" in str(caught.value)


@pytest.mark.parametrize("priority", [-1, 32768])
def test_a_priority_out_of_range_is_refused(priority: int) -> None:
    assert "not between 0 and 32767" in refusal(Fine(), priority=priority)


@pytest.mark.parametrize("priority", [0, BUILT_IN, DEFAULT, 32767])
def test_a_priority_within_range_is_taken(priority: int) -> None:
    assert Harness.of(Fine(), priority=priority).bindings.all[0].plug.priority == priority


def test_the_default_priority_is_after_the_built_in_policy() -> None:
    assert (BUILT_IN, DEFAULT) == (16384, 24575)
    assert Plug("a", Fine()).priority == DEFAULT


def test_a_sink_without_a_handler_is_refused() -> None:
    class Forgot(Sink):
        async def on_rcpt_to(self, event: RcptTo) -> None: ...

    assert "Forgot handles no event" in refusal(Forgot())


def test_a_handler_that_yields_is_refused() -> None:
    class Yields(Sink):
        @on(RcptTo)
        async def check(self, event: RcptTo) -> AsyncIterator[None]:
            yield None

    class YieldsToo(Sink):
        @on(RcptTo)
        def check(self, event: RcptTo) -> Any:
            yield None

    assert "yield" in refusal(Yields())
    assert "yield" in refusal(YieldsToo())


def test_a_thread_is_not_for_async_handlers() -> None:
    assert "plain 'def'" in refusal(Fine(), run_in="thread")


@pytest.mark.parametrize("run_in", ["processes", "threads", "Loop"])
def test_a_place_to_run_that_is_not_known_is_refused(run_in: str) -> None:
    assert f"{run_in!r} is none of 'loop', 'thread' and 'process'" in refusal(Fine(), run_in=run_in)


@pytest.mark.parametrize("timeout", [0, -1.5])
def test_a_deadline_that_nobody_could_meet_is_refused(timeout: float) -> None:
    assert "binding.mine.timeout" in refusal(Fine(), timeout=timeout)


def test_a_handler_takes_one_event_and_nothing_else() -> None:
    class TwoMany(Sink):
        @on(RcptTo)
        async def check(self, event: RcptTo, more: int) -> None: ...

    class NotAny(Sink):
        @on(RcptTo)
        async def check(self) -> None: ...

    class WithDefault(Sink):
        @on(RcptTo)
        async def check(self, event: RcptTo, more: int = 0) -> None: ...

    assert "takes one event" in refusal(TwoMany())
    assert "takes one event" in refusal(NotAny())
    Harness.of(WithDefault())


def test_a_condition_that_cannot_hold_is_refused_with_its_place() -> None:
    assert "penstock.toml: binding.mine.match: 'header' can never match at RcptTo" in refusal(Fine(), match=Match(header={"A": "*"}))


@pytest.mark.parametrize("events", [(), (str,), ("RcptTo",), (RcptTo, None)])
def test_on_takes_event_classes_and_nothing_else(events: Any) -> None:
    with pytest.raises(TypeError):
        on(*events)


TYPED = """
from __future__ import annotations
from typing import TYPE_CHECKING
from penstock import Sink, on
from penstock.events import RcptTo, Submission

if TYPE_CHECKING:
    from penstock import events, verdicts
    from penstock.events import RcptTo as Renamed
    from penstock.verdicts import Bounce, Reject

class Typed(Sink):
    @on(RcptTo)
    async def check(self, event: {takes}) -> {answer}: ...
"""


def typed(takes: str, answer: str) -> Sink:
    """A sink from a module some of whose names are there for a type checker only."""
    module: dict[str, Any] = {"__name__": "typed"}
    exec(TYPED.format(takes=takes, answer=answer), module)
    sink: Sink = module["Typed"]()
    return sink


@pytest.mark.parametrize("takes", ["RcptTo", "events.RcptTo", "MailFrom | RcptTo", "Any"])
@pytest.mark.parametrize("answer", ["Reject", "Reject | None", "verdicts.Reject", "Optional[Reject]", "Union[Reject, Defer, None]"])
def test_events_and_verdicts_may_be_imported_for_a_type_checker_only(takes: str, answer: str) -> None:
    assert len(Harness.of(typed(takes, answer)).bindings.chain(RcptTo)) == 1


@pytest.mark.parametrize(
    ("takes", "answer", "wrong"),
    [
        ("RcptTo", "Rejct", "'Rejct' in the annotation of 'return' is not known: Rejct"),
        ("RcptTo", "Reject | Rejct | None", "'Rejct'"),
        ("RcptTo", "verdicts.Rejct", "'Rejct'"),
        ("RcptT", "Reject", "'RcptT' in the annotation of 'event' is not known"),
        ("RcptTo", "Bounce", "RcptTo cannot be answered with Bounce"),
        ("RcptTo", "verdicts.Bounce | None", "RcptTo cannot be answered with Bounce"),
    ],
)
def test_a_slip_of_the_pen_in_an_annotation_is_refused_by_name(takes: str, answer: str, wrong: str) -> None:
    text = refusal(typed(takes, answer))
    assert wrong in text
    assert "it should be (self, event: RcptTo) -> Reject" in text


@pytest.mark.parametrize("keyword", ["MAIL", "rcpt", "Data", "BDAT", "EHLO", "HELO", "starttls", "AUTH"])
def test_a_verb_that_changes_the_session_cannot_be_taken_over(keyword: str) -> None:
    with pytest.raises(ValueError, match=f"keyword: {keyword.upper()} changes the state"):
        on(Verb, keyword=keyword)


@pytest.mark.parametrize("keyword", ["X Y", "1X", "-X", "X\r\nY", "X" * 33, "XÜ", "X="])
def test_a_keyword_is_a_word(keyword: str) -> None:
    with pytest.raises(ValueError, match="keyword"):
        on(Verb, keyword=keyword)


@pytest.mark.parametrize("line", ["XNEW\r\n250 OK", "XNEW\n", "XNEW\0", "XÜ", "X\t1"])
def test_what_is_advertised_is_one_line(line: str) -> None:
    with pytest.raises(ValueError, match="advertise"):
        on(Verb, keyword="XNEW", advertise=line)


@pytest.mark.parametrize("keyword", ["XNEW", "x-new2", "VRFY", "QUIT", "X" * 32])
def test_other_verbs_are_free(keyword: str) -> None:
    on(Verb, keyword=keyword, advertise=f"{keyword} 1 2")


def test_verb_needs_a_keyword_and_nothing_else_takes_one() -> None:
    with pytest.raises(ValueError, match="keyword"):
        on(Verb)
    with pytest.raises(ValueError, match="keyword"):
        on(RcptTo, keyword="X")
    with pytest.raises(ValueError, match="advertise"):
        on(RcptTo, Verb, advertise="X")


def test_verbs_are_found_by_keyword_in_any_case_and_advertised_once() -> None:
    class New(Sink):
        @on(Verb, keyword="xnew", advertise="XNEW")
        async def one(self, event: Verb) -> Respond | None: ...

        @on(Verb, keyword="XOTHER")
        async def two(self, event: Verb) -> Respond | None: ...

    bindings = Bindings([Plug("a", New()), Plug("b", New(), priority=1)])
    assert [(b.name, b.method) for b in bindings.verbs["XNEW"]] == [("b", "one"), ("a", "one")]
    assert set(bindings.verbs) == {"XNEW", "XOTHER"}
    assert bindings.advertised == ["XNEW"]
    assert bindings.chain(Verb) == ()


def test_one_handler_may_be_bound_to_several_events_and_one_sink_have_several_handlers() -> None:
    class Many(Sink):
        @on(Helo, Ehlo)
        async def greet(self, event: Helo | Ehlo) -> Disconnect | None: ...

        @on(Submission)
        async def submit(self, event: Submission) -> None: ...

    bindings = Harness.of(Many()).bindings
    assert {b.event for b in bindings.all} == {Helo, Ehlo, Submission}
    assert [b.key for b in bindings.chain(Submission)] == ["sink0:submit"]


def test_a_handler_of_a_base_class_is_bound_and_an_override_takes_its_place() -> None:
    class Derived(Fine):
        async def check(self, event: RcptTo) -> Reject | None:
            return Reject()

    assert [name for name, _ in marks_of(Derived)] == ["check"]
    assert Harness.of(Derived()).bindings.all[0].handler.__func__ is Derived.check  # type: ignore[attr-defined]


def test_the_settings_class_is_read_from_the_sink_or_its_base() -> None:
    class Takes(Sink[int]): ...

    class Derived(Takes): ...

    assert settings_type(Takes) is int
    assert settings_type(Derived) is int
    assert settings_type(Fine) is None
