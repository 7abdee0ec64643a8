"""Users of an LDAP directory: found by a search, and believed when the server lets them bind with their password."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from penstock import Sink

from . import ldapmessages as messages
from .credentials_elsewhere import PasswordElsewhere
from .ldap import LdapSettings, server_of
from .ldapclient import Connection, Connections, Refused, Server
from .lookup import LookupFailed
from .secret import FileSecret

# RFC 4511 §4.1.9.
_WRONG_PASSWORD, _NO_SUCH_OBJECT = 49, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsLdapSettings:
    """Which server is asked, and how a user is found.

    Args:
        uri: ``ldap://host``, ``ldaps://host``, with a port where it is another one. Passwords go to it: in clear, unless TLS is used.
        base: the DN below which users are.
        scope: "sub", "one" or "base".
        filter: what an entry has to be besides, e.g. ``(objectClass=inetOrgPerson)``.
        match: the attributes of which one holds the name that the user gives.
        name: the attribute that holds the name by which Penstock knows the user; "" for the name that was given.
        bind_dn: the DN to search as; "" for nobody.
        password: for it: text, ``"${env:NAME}"``, or ``{ file = "PATH" }``.
        start_tls: begin TLS on a connection of ``ldap://``; the certificate has to hold.
        ca_file: certificates to verify the server with, in PEM; None for the system's.
        connections: that search, at the same time, of each worker.
        connect: seconds that a connection may take to come about.
        seconds: how long all of it may take.
    """

    uri: str
    base: str
    scope: Literal["sub", "one", "base"] = "sub"
    filter: str = "(objectClass=*)"
    match: list[str] = field(default_factory=lambda: ["uid", "mail"])
    name: str = ""
    bind_dn: str = ""
    password: str | FileSecret = field(default="", repr=False)
    start_tls: bool = False
    ca_file: Path | None = None
    connections: int = 4
    connect: float = 3.0
    seconds: float = 10.0


class CredentialsLdap(PasswordElsewhere, Sink[CredentialsLdapSettings]):
    """Searches for the user's entry, and binds as it with the password, on a connection of its own.

    Raises: ValueError for a URI or filter that cannot be used; ConfigError for a secret or certificates that cannot be read.
    """

    settings: CredentialsLdapSettings

    def __init__(self, settings: CredentialsLdapSettings) -> None:
        super().__init__(settings)
        self._condition = messages.parse_filter(settings.filter)
        if not settings.match:
            raise ValueError("match: name at least one attribute that holds names of users")
        self._server = server_of(
            LdapSettings(
                uri=settings.uri,
                base=settings.base,
                bind_dn=settings.bind_dn,
                password=settings.password,
                start_tls=settings.start_tls,
                ca_file=settings.ca_file,
                connect=settings.connect,
            )
        )
        self._connections = Connections(self._server, settings.connections)

    async def stop(self) -> None:
        """Closes the connections."""
        self._connections.close()

    async def ask(self, user: str, password: str, client_ip: str) -> str | None:
        """Finds the user and binds as that entry."""
        entry = await self._find(user)
        if entry is None:
            return None
        if not entry.name:
            # A bind without a name is one as nobody, whatever the password is (RFC 4513 §5.1.1).
            raise LookupFailed("an entry without a DN")
        server = self._server
        as_user = Server(server.host, server.port, server.tls, server.start_tls, entry.name, password, server.connect)
        try:
            connection = await Connection.open(as_user)
        except Refused as refused:
            if refused.code in (_WRONG_PASSWORD, _NO_SUCH_OBJECT):
                return ""
            raise
        connection.close()
        names = entry.values.get(self.settings.name.lower(), []) if self.settings.name else [user]
        if len(names) != 1:
            raise LookupFailed(f"{entry.name} has {len(names)} values of {self.settings.name}, and not one")
        return names[0]

    async def _find(self, user: str) -> messages.Found | None:
        settings = self.settings
        # The name is a value of its own in the filter, and no text of it: there is nothing to escape.
        condition = messages.all_of((self._condition, messages.any_of(messages.equal(name, user) for name in settings.match)))
        wanted = [settings.name] if settings.name else ["1.1"]  # RFC 4511 §4.5.1.8: no attributes
        search = messages.Search(settings.base, settings.scope, condition, wanted, 2, max(1, int(settings.seconds)))
        ((code, entries),) = await self._connections.search([search])
        if code == messages.NO_SUCH_OBJECT:
            raise LookupFailed(f"the base {settings.base} does not exist")
        if len(entries) > 1:
            raise LookupFailed("several entries have the name of one user")
        return entries[0] if entries else None
