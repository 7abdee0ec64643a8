"""What administration needs of a worker's bindings, as a Protocol; the composition root has the real one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .protocol_bindings import BindingChanged, BindingRow, ChangeBinding, ReloadRow


class BindingOperations(Protocol):
    """The bindings of a worker, and how they become others."""

    @property
    def generation(self) -> int:
        """The number of the generation in force."""

    @property
    def retiring(self) -> int:
        """How many old generations are still worked with."""

    @property
    def last_error(self) -> str:
        """Why the last reload failed, "" when it did not."""

    def rows(self) -> Sequence[BindingRow]:
        """How each binding fares."""

    async def reload(self, refused: str = "") -> ReloadRow:
        """Puts what the files say now in force, or notes why there is no sense in trying."""

    async def change(self, change: ChangeBinding, user: str) -> BindingChanged:
        """Changes a binding in the file of the live changes. Raises ControlError when that cannot be."""
