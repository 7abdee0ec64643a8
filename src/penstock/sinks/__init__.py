"""The sinks that ship: the mail server's own policy and deliveries, written with nothing but what every sink author can import."""

from .aliases import Aliases, AliasesSettings
from .archive import Archive, ArchiveSettings
from .discard import Discard
from .drop import Drop, DropSettings
from .filebox import FileBox, FileBoxSettings
from .ldap import Ldap, LdapSettings
from .maildir import Maildir, MaildirSettings
from .pipe import Pipe, PipeSettings
from .postgresql import Postgresql, PostgresqlSettings
from .recipients import DomainRecipients, LocalRecipients, LocalRecipientsSettings, UnknownRecipients
from .relay import Relay, RelaySettings
from .routing import DomainRoute, Routing, RoutingSettings
from .shields_up import ShieldsUp
from .sqlite import Sqlite, SqliteSettings
from .virtual import Virtual, VirtualSettings
from .webhook import Webhook, WebhookSettings

__all__ = [
    "Aliases",
    "AliasesSettings",
    "Archive",
    "ArchiveSettings",
    "Discard",
    "DomainRecipients",
    "DomainRoute",
    "Drop",
    "DropSettings",
    "FileBox",
    "FileBoxSettings",
    "Ldap",
    "LdapSettings",
    "LocalRecipients",
    "LocalRecipientsSettings",
    "Maildir",
    "MaildirSettings",
    "Pipe",
    "PipeSettings",
    "Postgresql",
    "PostgresqlSettings",
    "Relay",
    "RelaySettings",
    "Routing",
    "RoutingSettings",
    "ShieldsUp",
    "Sqlite",
    "SqliteSettings",
    "UnknownRecipients",
    "Virtual",
    "VirtualSettings",
    "Webhook",
    "WebhookSettings",
]
