"""The sinks that ship: the mail server's own policy and deliveries, written with nothing but what every sink author can import."""

from .aliases import Aliases, AliasesSettings
from .archive import Archive, ArchiveSettings
from .client_certificates import ClientCertificates, ClientCertificatesSettings
from .credentials_dovecot import CredentialsDovecot, CredentialsDovecotSettings
from .credentials_file import CredentialsFile, CredentialsFileSettings
from .credentials_ldap import CredentialsLdap, CredentialsLdapSettings
from .credentials_pam import CredentialsPam, CredentialsPamSettings
from .credentials_postgresql import CredentialsPostgresql, CredentialsPostgresqlSettings
from .credentials_sqlite import CredentialsSqlite, CredentialsSqliteSettings
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
from .senders import SendersSettings
from .shields_up import ShieldsUp
from .sqlite import Sqlite, SqliteSettings
from .submission import SubmissionSettings, Submitted
from .tokens import Tokens, TokensSettings
from .virtual import Virtual, VirtualSettings
from .webhook import Webhook, WebhookSettings

__all__ = [
    "Aliases",
    "AliasesSettings",
    "Archive",
    "ArchiveSettings",
    "ClientCertificates",
    "ClientCertificatesSettings",
    "CredentialsDovecot",
    "CredentialsDovecotSettings",
    "CredentialsFile",
    "CredentialsFileSettings",
    "CredentialsLdap",
    "CredentialsLdapSettings",
    "CredentialsPam",
    "CredentialsPamSettings",
    "CredentialsPostgresql",
    "CredentialsPostgresqlSettings",
    "CredentialsSqlite",
    "CredentialsSqliteSettings",
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
    "SendersSettings",
    "ShieldsUp",
    "Sqlite",
    "SqliteSettings",
    "SubmissionSettings",
    "Submitted",
    "Tokens",
    "TokensSettings",
    "UnknownRecipients",
    "Virtual",
    "VirtualSettings",
    "Webhook",
    "WebhookSettings",
]
