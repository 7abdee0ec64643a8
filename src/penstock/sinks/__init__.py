"""The sinks that ship: the mail server's own policy and deliveries, written with nothing but what every sink author can import."""

from .aliases import Aliases, AliasesSettings
from .archive import Archive, ArchiveSettings
from .discard import Discard
from .drop import Drop, DropSettings
from .maildir import Maildir, MaildirSettings
from .recipients import DomainRecipients, LocalRecipients, LocalRecipientsSettings
from .relay import Relay, RelaySettings
from .shields_up import ShieldsUp

__all__ = [
    "Aliases",
    "AliasesSettings",
    "Archive",
    "ArchiveSettings",
    "Discard",
    "DomainRecipients",
    "Drop",
    "DropSettings",
    "LocalRecipients",
    "LocalRecipientsSettings",
    "Maildir",
    "MaildirSettings",
    "Relay",
    "RelaySettings",
    "ShieldsUp",
]
