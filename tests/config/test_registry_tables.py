"""What the tables about addresses and deliveries become: which bindings there are, and what could never work."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config import load, plugs
from penstock.errors import ConfigError
from penstock.events.plug import Plug

HEAD = '[server]\nhostname = "mx.example.com"\n[[listener]]\nname = "mx"\naddress = "127.0.0.1:0"\n'


def bound(folder: Path, text: str) -> dict[str, Plug]:
    """The bindings of this configuration, by name."""
    (folder / "penstock.toml").write_text(HEAD + text)
    return {plug.name: plug for plug in plugs(load(folder / "penstock.toml"))}


@pytest.mark.parametrize(
    ("deliver", "sink"),
    [
        ("pipe:/bin/cat {local}", "Pipe"), ("https://app.example.com/mail", "Webhook"), ("http://127.0.0.1:8000/", "Webhook"),
        ("drop:in", "Drop"), ("maildir:m", "Maildir"), ("discard:", "Discard"),
    ],
)  # fmt: skip
def test_each_kind_of_delivery_has_its_sink(tmp_path: Path, deliver: str, sink: str) -> None:
    found = bound(tmp_path, f'[domain."a.example"]\ndeliver = "{deliver}"\n')
    assert type(found["deliver:a.example"].sink).__name__ == sink


def test_a_domain_delivered_by_lmtp_is_a_route(tmp_path: Path) -> None:
    found = bound(tmp_path, '[domain."a.example"]\ndeliver = "lmtp:[127.0.0.1]:24"\n[route."a.example"]\nmessage_class = "bulk"\n')
    assert "deliver:a.example" not in found
    route = found["routing"].sink.settings.routes["a.example"]
    assert (route.next_hop, route.message_class) == ("lmtp:[127.0.0.1]:24", "bulk")


def test_two_ways_for_one_domain_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both 'deliver' and"):
        bound(tmp_path, '[domain."a.example"]\ndeliver = "lmtp:[127.0.0.1]:24"\n[route."a.example"]\nnext_hop = "[192.0.2.1]"\n')


def test_a_relay_domain_is_taken_from_anybody_and_not_delivered_here(tmp_path: Path) -> None:
    found = bound(tmp_path, '[domain."a.example"]\nkind = "relay"\n[domain."b.example"]\n')
    assert found["relay"].sink.settings.domains == ["a.example", "b.example"]
    assert "deliver:a.example" not in found
    assert next(iter(found["recipients"].sink.settings.domains)) == "b.example"


def test_routes_of_domains_go_to_the_routing_sink_and_those_of_next_hops_do_not(tmp_path: Path) -> None:
    text = '[delivery]\nsmart_host = "[192.0.2.9]:25"\n[route.".x.example"]\nnext_hop = "[192.0.2.1]:25"\n'
    text += '[route."[192.0.2.1]:25"]\nconnections = 3\n'
    settings = bound(tmp_path, text)["routing"].sink.settings
    assert (list(settings.routes), settings.smart_host) == ([".x.example"], "[192.0.2.9]:25")
    assert "routing" not in bound(tmp_path, "")


def test_files_of_addresses_become_one_sink_of_each_kind(tmp_path: Path) -> None:
    (tmp_path / "aliases").write_text("sales: ann\n")
    (tmp_path / "virtual").write_text("info ann\n")
    found = bound(
        tmp_path,
        '[domain."a.example"]\naliases = "aliases"\nvirtual = "virtual"\n[domain."b.example"]\naliases = "aliases"\n'
        'recipients = ["ann"]\ncatch_all = "ann"\n',
    )
    assert list(found["aliases"].sink.settings.files) == ["a.example", "b.example"]
    assert list(found["virtual"].sink.settings.files) == ["a.example"]
    assert found["unknown"].sink.settings.domains["b.example"].catch_all == "ann@b.example"
    assert found["aliases"].priority < found["unknown"].priority == found["recipients"].priority


def test_where_everybody_exists_nobody_is_asked_at_resolve(tmp_path: Path) -> None:
    """Each message is spared the question; and a catch-all that nothing could reach is refused."""
    assert "unknown" not in bound(tmp_path, '[domain."a.example"]\n')
    with pytest.raises(ConfigError, match="every address exists"):
        bound(tmp_path, '[domain."a.example"]\ncatch_all = "ann"\n')


@pytest.mark.parametrize(
    ("deliver", "what"),
    [("pipe:cat", "whole path"), ("pipe:/bin/cat {user}", "user"), ("https://", "url"), ("https://user:pass@x.example/", "url")],
)
def test_a_delivery_that_could_never_work_is_told_with_its_key(tmp_path: Path, deliver: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        bound(tmp_path, f'[domain."a.example"]\ndeliver = "{deliver}"\n')
    assert caught.value.where.endswith('domain."a.example".deliver')
