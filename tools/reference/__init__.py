"""Writes the reference in ``docs/reference`` from the code: ``python -m tools.reference``; a test compares the two."""
