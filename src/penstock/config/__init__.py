"""Configuration: TOML to checked settings to bound sinks, with errors that say what and where."""

from .load import load
from .registry import plugs
from .schema import Config

__all__ = ["Config", "load", "plugs"]
