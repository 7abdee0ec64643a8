"""What administration needs of a worker's tracing, as a Protocol; the composition root has the real one."""

from __future__ import annotations

from typing import Protocol

from .protocol_trace import AskTracing, TracingRow


class TracingOperations(Protocol):
    """The tracing of a worker."""

    async def ask(self, question: AskTracing) -> TracingRow:
        """Does what is asked; traces so far are in their files when it returns. Raises ControlError for conditions that cannot be."""
