"""``python -m penstock`` is the command ``penstock``."""

from .cli import main

main()
