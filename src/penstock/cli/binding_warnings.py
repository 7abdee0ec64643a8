"""What ``penstock check`` warns of in bindings: what is allowed and hardly meant, and what live changes make of the files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from ..config import Config
from ..config.kept import Kept
from ..config.keys import at, path_of
from ..config.securing import tls_policy
from ..config.sources import Written, in_files
from ..config.tables import shipped_bindings
from ..events.marks import marks_of
from ..events.pattern import glob
from ..events.plug import BUILT_IN, Plug
from ..events.rule import Match

_RESERVED = {"submission-api", "pickup", "milter"}
# Python itself, its libraries and the sink want so much address space at least.
_LEAST_MEMORY = 128 * 1024 * 1024


def about_bindings(config: Config, plugs: Sequence[Plug], kept: Kept) -> Iterator[str]:
    """One line for each thing that an administrator will want to know."""
    names = {plug.name: plug for plug in plugs}
    shipped = {table.name for table, _ in shipped_bindings(config)}
    has_auth = any(event.__name__ == "Auth" for plug in plugs for _, mark in marks_of(type(plug.sink)) for event in mark.events)
    for plug in plugs:
        if plug.name in shipped or not plug.enabled:
            continue
        key = f"binding.{plug.name}"
        yield from (f"{key}.match.{line}" for line in _never(plug.match or Match(), has_auth))
        yield from (f"{key}.match.{line}" for line in _without_tls(config, plug))
        yield from (f"{key}.{line}" for line in _controls(plug, names))
        yield from (f"{key}.{line}" for line in _comes_too_late(config, plug, plugs))
    yield from about_changes(config, kept)


def _never(match: Match, has_auth: bool) -> Iterator[str]:
    """The conditions that can hold in a later version, but not in this one, or that are hardly meant as they are written."""
    if match.authenticated and not has_auth:
        yield "authenticated: no binding handles Auth, so this never holds"
    if match.user is not None and not has_auth:
        yield "user: no binding handles Auth, so the name is always empty"
    for name in ("sender", "recipient"):
        for pattern in _many(getattr(match, name)):
            if pattern.replace("-", "").replace("_", "").isalnum():
                yield f"{name}: {pattern!r} means a domain of that name; if it is a local part, write '{pattern}@*'"
    for name, later in (("direction", {"out"}), ("origin", _RESERVED)):
        wanted = set(_many(getattr(match, name)))
        if wanted and wanted <= later:
            yield f"{name}: no mail is {min(wanted)!r} in this version, so this never holds"


def _without_tls(config: Config, plug: Plug) -> Iterator[str]:
    """A condition on TLS where no listener that the binding is for speaks it, or all speak nothing else."""
    match = plug.match or Match()
    wanted, names = match.tls, _many(match.listener)
    its_own = [one for one in config.listeners if not names or any(glob(pattern).fullmatch(one.name) for pattern in names)]
    policies = {tls_policy(config.tls, one) for one in its_own}
    if wanted and policies == {"none"}:
        yield "tls: no listener speaks TLS, so this never holds; [tls] has certificates"
    if wanted is False and policies <= {"implicit"}:
        yield "tls: the listeners speak TLS from the first octet, so this never holds"


def _controls(plug: Plug, names: Mapping[str, Plug]) -> Iterator[str]:
    if plug.expires and plug.expires <= time.time():
        yield f"expires: that was {time.strftime('%Y-%m-%d %H:%M', time.localtime(plug.expires))}, so it is asked nothing any more"
    if plug.canary is not None and plug.canary.replaces and not names[plug.canary.replaces].enabled:
        yield f"canary.replaces: {plug.canary.replaces!r} is switched off, so nobody is asked about the rest"
    if plug.run_in == "process" and 0 < plug.process.memory < _LEAST_MEMORY:
        yield f"process.memory: {plug.process.memory} octets are hardly enough for Python itself"


def _comes_too_late(config: Config, plug: Plug, plugs: Sequence[Plug]) -> Iterator[str]:
    """A delivery of the user's that stands behind that of the domain's table, which takes all of its mail."""
    if (
        not any(event.__name__ == "LocalDelivery" for _, mark in marks_of(type(plug.sink)) for event in mark.events)
        or plug.mode == "shadow"
    ):
        return
    local = [domain for domain, table in config.domains.items() if table.kind == "local"]
    wanted = _many(plug.match.recipient if plug.match else None) or _many(plug.match.destination if plug.match else None)
    meant = [domain for domain in local if not wanted or any(pattern.rpartition("@")[2].lower() == domain for pattern in wanted)]
    taken = {
        one.name.removeprefix("deliver:")
        for one in plugs
        if one.name.startswith("deliver:") and one.enabled and one.priority <= plug.priority
    }
    if meant and set(meant) <= taken:
        names = ", ".join(f"'deliver:{domain}'" for domain in meant[:3])
        yield f"priority: {names} comes first, and takes all of that mail; write a priority below {BUILT_IN}"


# --- live changes ---


def about_changes(config: Config, kept: Kept) -> Iterator[str]:
    """What live changes make of the files: each key that says something else, with both places; and those that nothing is left of."""
    base = {one.table.name: one for one in in_files(config)}
    shipped = {table.name: (f"{config.path}: {key}", table) for table, key in shipped_bindings(config)}
    for name, override in kept.bindings.items():
        who = f"live change of {override.by or 'somebody'}, {time.strftime('%Y-%m-%d %H:%M', time.localtime(override.at))}"
        if name not in base and name not in shipped:
            if override.table is None:
                yield f"binding.{name}: {who}: there is no such binding any more; 'penstock bindings reset {name}' forgets it"
            continue
        where = base[name].where if name in base else shipped[name][0]
        if override.removed or override.table is not None:
            done = "takes out" if override.removed else "takes the place of"
            yield f"binding.{name}: {who} {done} the one in {where}"
        for key, value in override.values.items():
            written = _written(base.get(name), key)
            yield f"binding.{name}.{key}: {who}: {_shown(key, value)}, in the place of {_shown(key, written)} in {where}"


def _written(one: Written | None, key: str) -> object:
    return at(one.raw, path_of(key)) if one is not None else None


def _shown(key: str, value: object) -> str:
    """A value, unless it might be a secret."""
    if value is None:
        return "nothing"
    return "another value" if key.split(".")[0] == "settings" else repr(value)


def _many(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)
