"""Users in a file that ``penstock user`` writes: for some thousands, without a server to run."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from penstock import Sink
from penstock.errors import ConfigError

from .accounts import Account, folded, read_accounts
from .credentials import CredentialStore
from .watched import Watch, WatchedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsFileSettings:
    """Which file.

    Args:
        path: the file.
        interval: seconds between two looks whether it changed.
    """

    path: Path
    interval: float = 1.0


class CredentialsFile(CredentialStore, Sink[CredentialsFileSettings]):
    """Knows the users of a file, which is read again when it changes; one that became wrong leaves the users as they were.

    Raises: ConfigError for a file that cannot be read.
    """

    settings: CredentialsFileSettings

    def __init__(self, settings: CredentialsFileSettings) -> None:
        super().__init__(settings)
        if not settings.interval > 0:
            raise ValueError("interval: a look needs some time between it and the next")
        self._file: WatchedFile[dict[str, Account]] = WatchedFile(settings.path, read_accounts)
        self._watch = Watch(self.refresh, settings.interval)
        self._file.refresh()
        if self._file.value is None:
            # What the error says of the place is not said twice.
            raise ConfigError(
                str(settings.path), self._file.error.removeprefix(f"{settings.path}: "), "make it with: penstock user add NAME"
            )

    async def start(self) -> None:
        """Begins to look after the file."""
        if self._is_open():
            self.log.warning("credentials can be read by others", path=str(self.settings.path))
        self._watch.start()

    async def stop(self) -> None:
        """Ends that."""
        await self._watch.stop()

    def refresh(self) -> None:
        """Reads the file again if it changed; waits for the disk."""
        if self._file.refresh() and self._file.error:
            self.log.error("credentials file cannot be used", path=str(self.settings.path), error=self._file.error)

    async def find(self, user: str) -> Account | None:
        """The account of a user."""
        return (self._file.value or {}).get(folded(user))

    def _is_open(self) -> bool:
        try:
            return bool(self.settings.path.stat().st_mode & stat.S_IROTH)
        except OSError:
            return False
