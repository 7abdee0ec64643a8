"""LDAP as a directory: people by their mail addresses, where their mail is forwarded to, and groups with their members."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from penstock import Address, Sink
from penstock.errors import AddressError, ConfigError

from . import ldapmessages as messages
from .directory import Directory, DirectorySettings
from .ldapclient import Connections, Server
from .lookup import Entry, LookupFailed, parsed
from .secret import FileSecret, read_secret

# Addresses in one filter; some servers refuse larger ones.
_IN_ONE = 100
# Entries of one search: an address may be that of several.
_FOUND = 1000
_MEMBERS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LdapSettings(DirectorySettings):
    """Which server is asked, and what its attributes mean.

    Args:
        uri: ``ldap://host``, ``ldaps://host``, with a port where it is another one.
        base: the DN below which is searched.
        scope: "sub", "one" or "base".
        filter: what an entry has to be besides, e.g. ``(objectClass=inetOrgPerson)``.
        match: the attributes that hold the addresses of an entry.
        forward: attributes that hold addresses to which its mail goes instead; its own among them keeps a copy.
        members: attributes of groups that hold the DNs of members, whose addresses are those of ``match``.
        member_addresses: attributes of groups that hold addresses of members.
        owner: the attribute that holds the envelope sender of what goes to the members of a group; "" for none.
        attributes: further attributes, which go on with the recipient.
        bind_dn: the DN to bind as; "" for nobody.
        password: for it: text, ``"${env:NAME}"``, or ``{ file = "PATH" }``.
        start_tls: begin TLS on a connection of ``ldap://``; the certificate has to hold.
        ca_file: certificates to verify the server with, in PEM; None for the system's.
        connections: at the same time, of each worker.
        connect: seconds that a connection may take to come about.
    """

    uri: str
    base: str
    scope: Literal["sub", "one", "base"] = "sub"
    filter: str = "(objectClass=*)"
    match: list[str] = field(default_factory=lambda: ["mail"])
    forward: list[str] = field(default_factory=lambda: ["mailForwardingAddress"])
    members: list[str] = field(default_factory=lambda: ["member", "uniqueMember"])
    member_addresses: list[str] = field(default_factory=lambda: ["rfc822MailMember"])
    owner: str = ""
    attributes: list[str] = field(default_factory=list)
    bind_dn: str = ""
    password: str | FileSecret = field(default="", repr=False)
    start_tls: bool = False
    ca_file: Path | None = None
    connections: int = 4
    connect: float = 3.0


class Ldap(Directory, Sink[LdapSettings]):
    """Looks recipients up in LDAP, all of a batch with one filter for each hundred.

    Raises: ValueError for a URI or filter that cannot be used; ConfigError for a secret or certificates that cannot be read.
    """

    settings: LdapSettings

    def __init__(self, settings: LdapSettings) -> None:
        super().__init__(settings)
        self._condition = messages.parse_filter(settings.filter)
        if not settings.match:
            raise ValueError("match: name at least one attribute that holds addresses")
        self._connections = Connections(server_of(settings), settings.connections)
        several = [*settings.match, *settings.forward, *settings.members, *settings.member_addresses, settings.owner, *settings.attributes]
        self._wanted = list(dict.fromkeys(name for name in several if name))

    async def stop(self) -> None:
        """Closes the connections."""
        self._connections.close()

    async def look_up(self, keys: Sequence[str]) -> Mapping[str, Entry]:
        """Searches for all keys, and then for the addresses of members that are named by DN."""
        parts = [keys[start : start + _IN_ONE] for start in range(0, len(keys), _IN_ONE)]
        found = await self._search([self._search_for(part) for part in parts])
        if any(code == messages.NO_SUCH_OBJECT for code, _ in found):
            raise LookupFailed(f"the base {self.settings.base} does not exist")
        wanted = set(keys)
        people: dict[str, messages.Found] = {}
        for entry in (entry for _, entries in found for entry in entries):
            for address in _values(entry, self.settings.match):
                if address.lower() in wanted:
                    people.setdefault(address.lower(), entry)
        names = dict.fromkeys(name for entry in people.values() for name in _values(entry, self.settings.members))
        if len(names) > _MEMBERS:
            raise LookupFailed(f"the groups have more than {_MEMBERS} members")
        addresses = await self._addresses(list(names))
        return {key: self._entry(key, entry, addresses) for key, entry in people.items()}

    async def _addresses(self, names: Sequence[str]) -> dict[str, str]:
        """The first address of each of these entries that has one, by DN."""
        if not names:
            return {}
        present = messages.parse_filter("(objectClass=*)")
        seconds = max(1, int(self.settings.seconds))
        searches = [messages.Search(name, "base", present, self.settings.match, 1, seconds) for name in names]
        result: dict[str, str] = {}
        for name, (_, entries) in zip(names, await self._search(searches), strict=True):
            for value in (value for entry in entries for value in _values(entry, self.settings.match)):
                result.setdefault(name, value)
        return result

    def _entry(self, key: str, found: messages.Found, addresses: Mapping[str, str]) -> Entry:
        domain = key.rpartition("@")[2]
        named = _values(found, self.settings.members)
        lost = [name for name in named if name not in addresses]
        if lost:
            # Who is a member and has no address gets nothing, in every mail system; it is only good to know.
            self.log.warning("member of a group has no address", group=found.name, member=lost[0], members=len(lost))
        texts = [
            *_values(found, self.settings.forward),
            *_values(found, self.settings.member_addresses),
            *(addresses[name] for name in named if name in addresses),
        ]
        try:
            targets = parsed(texts, domain)
            owner = next(iter(_values(found, [self.settings.owner] if self.settings.owner else [])), "")
            sender = Address.parse(owner) if owner else None
        except AddressError as error:
            return Entry(problem=f"{found.name}: {error}")
        if lost and not targets:
            return Entry(problem=f"{found.name}: none of its members has an address")
        attributes = {name: values for name in self.settings.attributes if (values := _values(found, [name]))}
        others = tuple(target for target in targets if str(target).lower() != key)
        return Entry(others, len(others) < len(targets), dict(attributes), sender)

    def _search_for(self, keys: Sequence[str]) -> messages.Search:
        matches = messages.any_of(messages.equal(name, key) for key in keys for name in self.settings.match)
        condition = messages.all_of((self._condition, matches))
        settings = self.settings
        return messages.Search(settings.base, settings.scope, condition, self._wanted, _FOUND, max(1, int(settings.seconds)))

    async def _search(self, searches: Sequence[messages.Search]) -> list[tuple[int, list[messages.Found]]]:
        try:
            return await self._connections.search(searches)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ssl.SSLError) as error:
            raise LookupFailed(f"{type(error).__name__}: {error}") from None


def _values(entry: messages.Found, attributes: Iterable[str]) -> list[str]:
    return [value for name in attributes for value in entry.values.get(name.lower(), ()) if value]


def server_of(settings: LdapSettings) -> Server:
    """Where the server is, and who we are there. Raises ValueError for a URI, ConfigError for a secret or certificates."""
    parts = urlsplit(settings.uri)
    if parts.scheme not in ("ldap", "ldaps") or not parts.hostname or parts.path.strip("/"):
        raise ValueError(f"uri: {settings.uri!r} should look like 'ldap://host', 'ldaps://host' or 'ldap://host:1389'")
    tls = None
    if parts.scheme == "ldaps" or settings.start_tls:
        try:
            tls = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
        except OSError as error:
            raise ConfigError("Ldap: ca_file", f"{settings.ca_file} cannot be used: {error}") from None
    port = parts.port or (636 if parts.scheme == "ldaps" else 389)
    password = read_secret("Ldap: password", settings.password)
    return Server(parts.hostname, port, tls, settings.start_tls and parts.scheme == "ldap", settings.bind_dn, password, settings.connect)
