"""Configuration: TOML to checked settings to bound sinks, with errors that say what and where.

``starting`` is for who starts the server; ``plugs`` for all others, who are to be told of the first thing that is wrong.
"""

from .load import load
from .registry import plugs
from .schema import Config
from .starting import starting

__all__ = ["Config", "load", "plugs", "starting"]
