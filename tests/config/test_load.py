"""The configuration file: defaults, values, and errors that say the file, the key, what is wrong and a way out."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from penstock.config import load
from penstock.config.schema import Config
from penstock.config.values import Duration, Endpoint, Size
from penstock.errors import ConfigError

LISTENER = '[[listener]]\nname = "mx"\naddress = "127.0.0.1:0"\n'
SERVER = '[server]\nhostname = "mx.example.com"\n'


def _load(folder: Path, text: str) -> Config:
    path = folder / "penstock.toml"
    path.write_text(text)
    return load(path)


def _fails(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as failure:
        _load(folder, text)
    return failure.value


def test_a_listener_is_enough(tmp_path: Path) -> None:
    """Everything else has the default that administrators know."""
    config = _load(tmp_path, SERVER + LISTENER)
    assert config.limits.message_size == 25 * 1024 * 1024
    assert config.limits.recipients == 1000
    assert config.limits.idle == 300
    assert config.retry.intervals == [900, 1800, 3600, 14400]
    assert config.retry.expire == 5 * 86400
    assert config.server.worker_count >= 1
    assert config.listeners[0].address.port == 0
    assert (config.domains, config.bindings, config.relay.networks) == ({}, [], [])


def test_every_table_is_read(tmp_path: Path) -> None:
    """What is written is what is there."""
    config = _load(
        tmp_path,
        SERVER + 'name = "one"\nworkers = 3\ndrain = "1 minute"\n' + LISTENER + '[limits]\nmessage_size = "1 MiB"\n'
        '[retry]\nintervals = ["1m", 120]\nexpire = "2 days"\njitter = 0\n[relay]\nnetworks = ["192.0.2.1"]\n[log]\nlevel = "debug"\n'
        '[domain."Example.COM"]\ndeliver = "drop:in"\nrecipients = ["a", "b"]\naliases = "aliases"\n'
        '[[binding]]\nname = "b"\nsink = "x:Y"\nmatch = { sender = "*@x", header = { Subject = "*a*" } }\ntimeout = "10s"\n',
    )
    assert (config.server.name, config.server.workers, config.server.drain) == ("one", 3, 60)
    assert config.limits.message_size == 1024 * 1024
    assert (config.retry.intervals, config.retry.expire) == ([60, 120], 172800)
    assert config.domains["example.com"].recipients == ["a", "b"]
    match = config.bindings[0].match
    assert match is not None
    assert (match.sender, match.header) == ("*@x", {"Subject": "*a*"})
    assert (config.bindings[0].timeout, config.log.level) == (10, "debug")


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command is given; what leads upwards does not stay in the path."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "etc" / "penstock.toml").write_text(SERVER + 'spool = "../data/spool"\n' + LISTENER)
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = load(Path("../etc/penstock.toml"))
    assert config.resolve(config.server.spool) == tmp_path.resolve() / "data" / "spool"
    assert config.resolve("/var/mail") == Path("/var/mail")


@pytest.mark.parametrize(
    ("text", "where", "what", "hint"),
    [
        ("x = ", "penstock.toml", "this is not TOML", ""),
        ("", "penstock.toml", "there is no listener", "[[listener]]"),
        ("[sever]\n", "penstock.toml", "unknown key 'sever'", "did you mean 'server'?"),
        ("[quux]\n", "penstock.toml", "unknown key 'quux'", "known here are: "),
        ('[server]\nhostnam = "x"\n', "penstock.toml: server", "unknown key 'hostnam'", "did you mean 'hostname'?"),
        ('[server]\nhostname = "a b"\n' + LISTENER, "server.hostname", "domain 'a b' is malformed", "mx.example.com"),
        ('[server]\nworkers = "four"\n', "server.workers", "expected 'int', got 'str'", ""),
        (SERVER + "workers = -1\n" + LISTENER, "server.workers", "between 0", ""),
        (SERVER + 'recipient_delimiter = "+-"\n' + LISTENER, "server.recipient_delimiter", "one character", ""),
        ('[server]\ndrain = "5 fortnights"\n', "server.drain", "'5 fortnights' is not a duration, such as", ""),
        ('[limits]\nmessage_size = "big"\n', "limits.message_size", "'big' is not a size, such as", ""),
        ("[limits]\nmessage_sice = 1\n", "limits", "unknown key 'message_sice'", "did you mean 'message_size'?"),
        (SERVER + LISTENER + "[limits]\nconnections = 0\n", "limits.connections", "it is above 0", ""),
        (SERVER + LISTENER + '[limits]\nidle = "0s"\n', "limits.idle", "it is above 0", ""),
        (SERVER + LISTENER + "[limits]\nerrors = -1\n", "limits.errors", "it is not below 0", ""),
        ("[retry]\nintervals = []\n" + SERVER + LISTENER, "retry", "at least one interval", ""),
        ('[retry]\nintervals = ["1m", "soon"]\n', "retry.intervals[1]", "'soon' is not a duration", ""),
        ("[relay]\nnetworks = 5\n", "relay.networks", "expected 'array', got 'int'", ""),
        ('[log]\nlevel = "loud"\n', "log.level", "invalid enum value 'loud'", ""),
        ('[listener]\nname = "mx"\n', "listener", "a list of tables is expected here", "[[listener]] with two brackets"),
        ('[[listener]]\nname = "mx"\n', "listener.mx", "missing required field 'address'", ""),
        ('[[listener]]\nname = "mx"\naddress = "localhost:25"\n', "listener.mx.address", "is not an address to listen on", ""),
        ('[[listener]]\nname = "mx"\naddress = "127.0.0.1"\n', "listener.mx.address", "is not an address to listen on", ""),
        (SERVER + LISTENER + LISTENER, "listener", "two listeners with the name 'mx'", ""),
        ('[[domain]]\nname = "example.com"\n', "domain", "tables are expected here", '[domain."example.com"]'),
        ('[domain]\nexample = "x"\n', "domain", "tables are expected here", '[domain."example.com"]'),
        ('[domain."example.com"]\ndelivr = "x"\n', 'domain."example.com"', "unknown key 'delivr'", "did you mean 'deliver'?"),
        ('[domain."example.com"]\nkind = "remote"\n', 'domain."example.com".kind', "invalid enum value 'remote'", ""),
        (SERVER + LISTENER + '[domain."exa mple"]\n', 'domain."exa mple"', "malformed", ""),
        ('[[binding]]\nname = "x"\n', "binding.x", "missing required field 'sink'", ""),
        ('[[binding]]\nsink = "x:Y"\n', "binding.1", "missing required field 'name'", ""),
        ('[[binding]]\nname = "x"\nsink = "x:Y"\nprioritty = 1\n', "binding.x", "unknown key 'prioritty'", "did you mean 'priority'?"),
        (
            '[[binding]]\nname = "x"\nsink = "x:Y"\nmatch = { recipent = "a" }\n',
            "binding.x.match",
            "unknown key 'recipent'",
            "did you mean 'recipient'?",
        ),
        ('[[binding]]\nname = "x"\nsink = "x:Y"\non_error = "panic"\n', "binding.x.on_error", "invalid enum value 'panic'", ""),
        (
            SERVER + LISTENER + '[[binding]]\nname = "x"\nsink = "x:Y"\nlisteners = ["mxx"]\n',
            "binding.x.listeners",
            "there is no listener 'mxx'",
            "there are: mx",
        ),
    ],
)
def test_an_error_says_where_what_and_what_to_do(tmp_path: Path, text: str, where: str, what: str, hint: str) -> None:
    """File and key, as one would look for them; the reason; and a way out where there is one to name."""
    error = _fails(tmp_path, text)
    assert error.where.startswith(str(tmp_path / "penstock.toml"))
    assert error.where.endswith(where)
    assert what in error.what
    assert "\n" not in error.what
    assert hint in error.hint


SHIELD = '[[binding]]\nname = "x"\nsink = "penstock.sinks:ShieldsUp"\n'
DOMAIN = '[domain."example.com"]\n'


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        (LISTENER + "[limits]\nmessage_size = inf\n", "limits.message_size", "inf is not a size"),
        (LISTENER + "[limits]\nmessage_size = nan\n", "limits.message_size", "nan is not a size"),
        (LISTENER + f'[limits]\nmessage_size = "{"9" * 400}"\n', "limits.message_size", "that is not a size"),
        (LISTENER + f"[limits]\nmessage_size = {'9' * 400}\n", "limits.message_size", "that is not a size"),
        (LISTENER + "[limits]\nrecipients = -1\n", "limits.recipients", "it is above 0"),
        (LISTENER + "[limits]\nidle = inf\n", "limits.idle", "inf is not a duration"),
        (LISTENER + "[retry]\njitter = nan\n", "retry", "a jitter from 0 to below 1"),
        (LISTENER + "[retry]\njitter = 1\n", "retry", "a jitter from 0 to below 1"),
        (LISTENER + "[retry]\nintervals = [0]\n", "retry.intervals", "an interval is above 0"),
        (LISTENER + SHIELD + "timeout = inf\n", "binding.x.timeout", "inf is not a duration"),
        (LISTENER + SHIELD + 'run_in = "cloud"\n', "binding.x.run_in", "invalid enum value 'cloud'"),
        (LISTENER + SHIELD + 'match = { listener = "smpt" }\n', "binding.x.match.listener", "there is no listener 'smpt'"),
        (LISTENER + SHIELD + 'match = { listener = ["mx", "sub*"] }\n', "binding.x.match.listener", "there is no listener 'sub*'"),
        (LISTENER + SHIELD.replace('"x"', '""'), "binding.", "'' is no name for a binding"),
        (LISTENER + SHIELD.replace('"x"', '"x\\u0000"'), "binding.x\0", "is no name for a binding"),
        (LISTENER.replace('"mx"', '""'), "listener", "'' is no name for a listener"),
        (LISTENER.replace('"mx"', '"m*"'), "listener", "'m*' is no name for a listener"),
        (LISTENER + DOMAIN + '[domain."Example.COM"]\n', 'domain."Example.COM"', "two tables for this domain"),
        (LISTENER + '[domain."example.com."]\n', 'domain."example.com."', "ends in a dot"),
        (LISTENER + DOMAIN + 'recipients = ["ann@example.com"]\n', 'domain."example.com".recipients', "is no local part"),
        (LISTENER + DOMAIN + 'recipients = ["sales*"]\n', 'domain."example.com".recipients', "is no local part"),
        (LISTENER + DOMAIN + 'aliases = ""\n', 'domain."example.com".aliases', "'' is no path"),
        (LISTENER + DOMAIN + 'deliver = "drop:a\\u0000b"\n', 'domain."example.com".deliver', "a NUL"),
    ],
)
def test_what_could_never_work_is_refused(tmp_path: Path, text: str, where: str, what: str) -> None:
    """Not by the first message that does not arrive, but when the file is read."""
    error = _fails(tmp_path, SERVER + text)
    assert error.where.endswith(f": {where}")
    assert what in error.what


@pytest.mark.parametrize(
    "line",
    [
        'recipient_delimiter = "@"',
        'recipient_delimiter = "a"',
        'recipient_delimiter = " "',
        'spool = ""',
        'recipient_delimiter = "\\u0000"',
    ],
)
def test_what_the_server_table_cannot_mean_is_refused(tmp_path: Path, line: str) -> None:
    """A letter as delimiter would cut every name that holds it; an empty folder would be that of the file."""
    assert _fails(tmp_path, f"{SERVER}{line}\n{LISTENER}").where.endswith(f"server.{line.partition(' ')[0]}")


def test_a_host_name_is_ascii(tmp_path: Path) -> None:
    """The banner is sent before a client can say that it takes more."""
    error = _fails(tmp_path, '[server]\nhostname = "mx.exämple.com"\n' + LISTENER)
    assert error.where.endswith("server.hostname")
    assert "xn--" in error.hint


@pytest.mark.parametrize(
    ("first", "second", "ok"),
    [
        ("127.0.0.1:2525", "127.0.0.1:2525", False),
        ("0.0.0.0:2525", "127.0.0.1:2525", False),
        ("[::1]:2525", "[0:0:0:0:0:0:0:1]:2525", False),
        ("127.0.0.1:2525", "127.0.0.2:2525", True),
        ("0.0.0.0:2525", "[::]:2525", True),
        ("127.0.0.1:0", "127.0.0.1:0", True),
    ],
)
def test_two_listeners_cannot_have_one_address(tmp_path: Path, first: str, second: str, ok: bool) -> None:
    """One that stands for all addresses takes the others too; each family is on its own, and port 0 is a free one each time."""
    text = f'{SERVER}[[listener]]\nname = "a"\naddress = "{first}"\n[[listener]]\nname = "b"\naddress = "{second}"\n'
    if ok:
        assert len(_load(tmp_path, text).listeners) == 2
        return
    error = _fails(tmp_path, text)
    assert error.where.endswith("listener.b.address")
    assert f"listener 'a' has {first} already" in error.what


@pytest.mark.parametrize(
    ("deliver", "ok"),
    [
        ("maildir:data/spool/{local}", False),
        ("maildir:data/{local}", False),
        ("maildir:data/{local}/Maildir", False),
        ("drop:data/spool", False),
        ("drop:data/spool/worker-0/journal", False),
        ("drop:data", True),
        ("maildir:data/mail/{local}", True),
        ("maildir:data/x-{local}", True),
    ],
)
def test_no_delivery_leads_into_the_spool(tmp_path: Path, deliver: str, ok: bool) -> None:
    """Nor could a local part lead there, such as one that is called as the spool is."""
    text = SERVER + 'spool = "data/spool"\n' + LISTENER + f'{DOMAIN}deliver = "{deliver}"\n'
    if ok:
        _load(tmp_path, text)
    else:
        assert "leads into the spool" in _fails(tmp_path, text).what


def test_a_word_that_is_not_known_comes_with_those_that_are(tmp_path: Path) -> None:
    """Nobody has to look them up."""
    assert _fails(tmp_path, '[log]\nlevel = "loud"\n').hint == "it may be: 'debug', 'info', 'warning', 'error'"


def test_a_missing_file_names_the_ways_to_name_one(tmp_path: Path) -> None:
    """The option, the variable, and the example to start from."""
    with pytest.raises(ConfigError, match="there is no such file") as failure:
        load(tmp_path / "nowhere.toml")
    for way in ("--config", "PENSTOCK_CONFIG", "examples/penstock.toml"):
        assert way in failure.value.hint


def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    """A folder, or octets that are no UTF-8."""
    with pytest.raises(ConfigError, match=r"cannot be read: .*directory"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# gr\xfc\xdfe\n")
    with pytest.raises(ConfigError, match=r"cannot be read: .*utf-8"):
        load(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5 minutes", 300), ("1.5h", 5400), ("2 Days", 172800), ("1w", 604800), ("250ms", 0.25), ("7", 7), (90, 90), (0, 0)],
)
def test_durations(text: object, seconds: float) -> None:
    """A number with a unit, in any of its usual spellings; without one it is seconds."""
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize(("text", "octets"), [("25 MiB", 26214400), ("64k", 65536), ("1kB", 1000), ("1.5 KiB", 1536), (5, 5)])
def test_sizes(text: object, octets: int) -> None:
    """KiB counts by 1024, kB by 1000, and a bare letter means the first."""
    assert Size.parse(text) == octets


@pytest.mark.parametrize("value", ["", "5 parsecs", "-1s", -1, True, None, "s", [5], float("inf"), float("nan"), 10**400])
def test_what_is_no_amount_is_refused(value: object) -> None:
    """True is no number, and time does not run backwards."""
    for kind in (Duration, Size):
        with pytest.raises(ValueError, match="such as"):
            kind.parse(value)


@pytest.mark.parametrize(("text", "host", "port"), [("0.0.0.0:25", "0.0.0.0", 25), ("[::1]:2525", "::1", 2525)])
def test_endpoints(text: str, host: str, port: int) -> None:
    """Both families."""
    endpoint = Endpoint.parse(text)
    assert (endpoint.host, endpoint.port) == (host, port)


@pytest.mark.parametrize(
    "value", ["", "25", ":25", "127.0.0.1:70000", "127.0.0.1:-1", "mx.example.com:25", "127.0.0.1:x", 25, "::1:25", "127.0.0.1:2_5"]
)
def test_what_is_no_endpoint_is_refused(value: object) -> None:
    """Names are not looked up: which address of several would it be?"""
    with pytest.raises(ValueError, match="such as"):
        Endpoint.parse(value)


def test_every_field_of_a_table_is_described() -> None:
    """The docstrings of the tables are what docs/configuration.md is held against."""
    config = _tables()
    for table in config:
        for field in fields(table):
            assert f"        {field.name}: " in (table.__doc__ or ""), f"{table.__name__}.{field.name}"


def _tables() -> list[type]:
    from penstock.config import schema

    return [value for name, value in vars(schema).items() if name.endswith("Table")]


def test_a_listener_may_have_limits_of_its_own(tmp_path: Path) -> None:
    """What it leaves out is as for the others."""
    listener = LISTENER + 'limits = { recipients = 5, user_messages = "20/10 minutes" }\n'
    config = _load(tmp_path, SERVER + "[limits]\nerrors = 3\nrecipients = 50\n" + listener)
    own, others = config.limits_of("mx"), config.limits_of("other")
    assert (own.recipients, own.errors, others.recipients) == (5, 3, 50)
    assert {name: (budget.count, budget.period) for name, budget in own.rates.items()} == {"user_messages": (20, 600)}
    assert others.rates == {}


@pytest.mark.parametrize(
    ("limits", "key"),
    [
        ("{ recipient = 5 }", "recipient"),
        ("{ recipients = 0 }", "recipients"),
        ('{ client_messages = "many" }', "client_messages"),
        ('{ client_messages = "0/min" }', "client_messages"),
        ('{ exempt = ["example.com"] }', "exempt"),
        ('{ banner_delay = "10 minutes" }', "banner_delay"),
        ("{ unknown_recipients = -1 }", "unknown_recipients"),
    ],
)
def test_a_wrong_limit_of_a_listener_is_named(tmp_path: Path, limits: str, key: str) -> None:
    error = _fails(tmp_path, SERVER + LISTENER + f"limits = {limits}\n")
    assert "listener.mx.limits" in error.where
    assert key in error.where + error.what


@pytest.mark.parametrize("networks", ['["example.com"]', '["192.0.2.0/33"]'])
def test_a_balancer_is_an_address_or_a_network(tmp_path: Path, networks: str) -> None:
    assert _fails(tmp_path, SERVER + LISTENER + f"proxy = {networks}\n").where.endswith("listener.mx.proxy")
