"""Passwords and keys in the settings of sinks: from the environment or a file, so that they need not stand in the configuration."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import ConfigError

_FROM_ENVIRONMENT = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class FileSecret:
    """``{ file = "PATH" }`` in the place of a secret.

    Args:
        file: the file; white space around its text does not count.
    """

    file: Path


def read_secret(where: str, value: str | FileSecret) -> str:
    """The secret itself.

    Args:
        where: the sink and the setting, for the error.
        value: the text, ``"${env:NAME}"``, or a file.

    Raises: ConfigError with where it cannot be had from; never with the secret.
    """
    if isinstance(value, FileSecret):
        try:
            return value.file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(where, f"the file {value.file} cannot be read: {type(error).__name__}") from None
    found = _FROM_ENVIRONMENT.fullmatch(value)
    if not found:
        return value
    try:
        return os.environ[found[1]]
    except KeyError:
        raise ConfigError(where, f"there is no environment variable {found[1]}") from None
