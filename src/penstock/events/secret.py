"""A password or key in the settings of a sink or of the server: named where it is, not written where everybody reads.

It stands with the programming model, not with the configuration, since sink authors declare fields of this type.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Self

from . import handed

_FROM_ENVIRONMENT = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


class Secret(str):
    """A password or key: ``"${env:NAME}"`` or ``{ file = "PATH" }``, or the text itself; never shown by repr."""

    @classmethod
    def parse(cls, value: object, folder: Path | None = None) -> Self:
        """The secret itself.

        Args:
            value: as it was written.
            folder: where a relative path starts; None for the working directory.

        Raises: ValueError with where it cannot be had from; never with the secret.
        """
        if isinstance(value, dict) and set(value) == {"file"} and isinstance(value["file"], str):
            path = Path(os.path.normpath(folder.resolve() / value["file"])) if folder else Path(value["file"])
            try:
                return cls(handed.read(path).decode("utf-8").strip())
            except (OSError, UnicodeDecodeError, ValueError) as error:
                raise ValueError(f"the file {path} cannot be read: {type(error).__name__}") from None
        if not isinstance(value, str):
            raise ValueError('a secret is text, "${env:NAME}" or { file = "PATH" }')
        found = _FROM_ENVIRONMENT.fullmatch(value)
        if not found:
            return cls(value)
        try:
            return cls(os.environ[found[1]])
        except KeyError:
            raise ValueError(f"there is no environment variable {found[1]}") from None

    @staticmethod
    def is_reference(value: object) -> bool:
        """Whether what was written only says where the secret is, so that it may be shown."""
        return isinstance(value, dict) or (isinstance(value, str) and (not value or _FROM_ENVIRONMENT.fullmatch(value) is not None))

    def __repr__(self) -> str:
        return "'***'" if self else "''"
