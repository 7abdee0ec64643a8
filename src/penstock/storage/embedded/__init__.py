"""The default spool: a journal with group commit and an index, in one folder, with nothing to install."""

from .settings import EmbeddedSettings
from .spool import EmbeddedSpool

__all__ = ["EmbeddedSettings", "EmbeddedSpool"]
