"""What the running workers say of their bindings, added up; and telling them that something changed."""

from __future__ import annotations

from ..config import Config

Live = dict[tuple[str, str, str], dict[str, object]]


def ask_workers(config: Config) -> Live | None:
    """By binding, handler and event; None when no worker answers."""
    return None


def reload_workers(config: Config) -> str:
    """Has the running server take up what changed; what came of it, in one sentence."""
    return "no server is running: it holds from the next start"
