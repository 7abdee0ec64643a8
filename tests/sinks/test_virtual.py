"""Virtual addresses: whole addresses and domains that stand for others, as virtual(5) has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import ConfigError
from penstock.sinks import Virtual, VirtualSettings

from .asking import members, resolved


def virtual(folder: Path, text: str, **settings: str) -> Virtual:
    """The sink for example.com with this file."""
    (folder / "virtual").write_text(text)
    return Virtual(VirtualSettings({"example.com": folder / "virtual"}, **settings))


TABLE = """\
# whole addresses
sales@example.com   alice@example.com, bob@other.example
Info@Example.COM    carol
keep                keep@example.com  archive@other.example
named@example.com   named@example.com
post                sales
    @example.com    catch@example.com
"""


async def test_an_address_is_found_before_its_domain(tmp_path: Path) -> None:
    sink = virtual(tmp_path, TABLE.replace("    @example", "@example"))
    assert await members(sink, "SALES@example.com") == ["alice@example.com", "bob@other.example"]
    assert await members(sink, "info@example.com") == ["carol@example.com"]
    assert await members(sink, "anybody@example.com") == ["catch@example.com"]
    named, catch, elsewhere = await resolved(sink, "named@example.com", "catch@example.com", "sales@other.example")
    assert (named.decision, catch.decision, elsewhere.decision) == ("resolved", "resolved", "")


async def test_who_stands_for_itself_and_others_keeps_a_copy(tmp_path: Path) -> None:
    (item,) = await resolved(virtual(tmp_path, TABLE.replace("    @", "@")), "keep@example.com")
    assert (item.decision, sorted(map(str, item.members))) == ("forwarded", ["archive@other.example", "keep@example.com"])


async def test_a_line_goes_on_with_white_space(tmp_path: Path) -> None:
    sink = virtual(tmp_path, "sales  alice,\n  bob\n\tcarol\n")
    assert await members(sink, "sales@example.com") == ["alice@example.com", "bob@example.com", "carol@example.com"]


async def test_a_domain_stands_for_another_with_the_same_names(tmp_path: Path) -> None:
    sink = virtual(tmp_path, "@example.com @New.example\n")
    assert await members(sink, "Alice@example.com") == ["Alice@new.example"]


async def test_a_detail_goes_on_with_the_name(tmp_path: Path) -> None:
    sink = virtual(tmp_path, "sales alice@other.example\nsales+fair bob\n")
    assert await members(sink, "sales+x@example.com") == ["alice+x@other.example"]
    assert await members(sink, "sales+fair@example.com") == ["bob@example.com"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("alone\n", "does not look like"), ("a b\na c\n", "twice"), ("a @b.example c\n", "stands alone"), ("a b@\n", "malformed"),
     ("@-x a\n", "malformed"), ("  a b\n", "white space"), ("a @\n", "malformed")],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_line(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        virtual(tmp_path, text)
    assert f"{tmp_path / 'virtual'}:" in str(caught.value)


async def test_a_changed_file_is_used_and_a_broken_one_leaves_the_old(tmp_path: Path) -> None:
    sink = virtual(tmp_path, "sales alice\n")
    for text, found in (("sales bob\n", "bob@example.com"), ("broken\n", "bob@example.com"), ("sales carol\n", "carol@example.com")):
        (tmp_path / "virtual").write_text(text)
        sink.refresh()
        assert await members(sink, "sales@example.com") == [found]
