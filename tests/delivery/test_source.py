"""A connection begins from the address that the administrator named for the family of its destination."""

from __future__ import annotations

import pytest

from penstock.delivery.source import SourceAddresses, has_route


def test_each_family_has_its_own_source() -> None:
    source = SourceAddresses("192.0.2.1", "2001:db8::1")
    assert source.towards("198.51.100.1") == "192.0.2.1"
    assert source.towards("2001:db8::2") == "2001:db8::1"


def test_without_a_source_the_system_chooses() -> None:
    assert SourceAddresses().towards("198.51.100.1") == ""
    assert SourceAddresses(ipv4="192.0.2.1").towards("2001:db8::2") == ""


@pytest.mark.parametrize(("ipv4", "ipv6"), [("2001:db8::1", ""), ("", "192.0.2.1"), ("nonsense", "")])
def test_a_source_of_the_wrong_family_is_refused(ipv4: str, ipv6: str) -> None:
    with pytest.raises(ValueError, match="is not an IPv"):
        SourceAddresses(ipv4, ipv6)


def test_this_machine_has_a_way_to_itself_and_none_to_what_is_no_address_of_anybody() -> None:
    assert has_route("127.0.0.1")
    assert not has_route("nonsense")
