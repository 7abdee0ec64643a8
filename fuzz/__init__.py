"""Fuzzing: a target for each parser, seeds for each, and a runner; README.md says how."""
