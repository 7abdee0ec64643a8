"""Imports the user's modules so that they can be imported again: which code a sink is made of, whether it changed, how to take it back.

A reload changes no module that runs: what changed is imported as new modules under the same names, with all that imports it, and objects
made before keep the old ones. When anything fails the old modules are put back. A module is always read from its source: Python's cached
byte code is told apart by whole seconds and the size of a file, so a quick edit would not be seen.

The user's are the modules outside the standard library and site-packages, and those of the package that a sink comes from. Penstock's own
and installed libraries are never imported again. Rejected: ``importlib.reload``, which changes the old module under its objects' feet.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from .. import __version__

_ATTRIBUTE = "__penstock_source__"
_OURS = "penstock"
_LIBRARY = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})
_INSTALLED = ("site-packages", "dist-packages")
# Digits of a version: enough to tell those apart that one server ever has, few enough to read out.
DIGITS = 10


@dataclass(frozen=True, slots=True)
class Source:
    """What a module was made from.

    Args:
        path: the file.
        digest: of its octets.
        imports: the names of modules that it may import; of ``from a import b`` both a and a.b.
    """

    path: str
    digest: bytes
    imports: frozenset[str]


def load(name: str) -> ModuleType:
    """A module of the user's, as it was imported or imported now. Raises whatever its code raises."""
    with _finding(name):
        return importlib.import_module(name)


def load_entry(entry: importlib.metadata.EntryPoint) -> Any:
    """What an entry point of an installed package names. Raises whatever its code raises."""
    with _finding(entry.module):
        return entry.load()


def version(name: str) -> str:
    """The version of the code of a module that is loaded: a short hash of its source and of the user's modules that it imports.

    The modules of Penstock itself have Penstock's version; those of which the source is not known have "".
    """
    if _top(name) == _OURS:
        return __version__
    closure = _closure(name)
    if not closure:
        return ""
    found = hashlib.sha256()
    for each in sorted(closure):
        source = _source(each)
        if source is not None:
            found.update(each.encode() + b"\0" + source.digest)
    return found.hexdigest()[:DIGITS]


class Stage:
    """The user's modules while a reload is under way: what changed, and what imports it, is imported anew; ``undo`` puts the old ones back.

    ``stale`` are the names of the modules that are imported anew when they are wanted.
    """

    def __init__(self) -> None:
        importlib.invalidate_caches()
        self._before = {name: sys.modules[name] for name in _managed()}
        self.stale = _stale()
        for name in self.stale:
            sys.modules.pop(name, None)

    def keep(self) -> None:
        """All went well: modules that stayed are known to the packages that are new."""
        for name in _managed():
            parent, _, child = name.rpartition(".")
            package = sys.modules.get(parent)
            if package is not None and not hasattr(package, child):
                setattr(package, child, sys.modules[name])

    def undo(self) -> None:
        """The old modules are the modules again."""
        for name in _managed():
            if sys.modules[name] is not self._before.get(name):
                del sys.modules[name]
        sys.modules.update(self._before)
        # An import leaves a module's name in its package, too.
        for name, module in self._before.items():
            parent, _, child = name.rpartition(".")
            if parent in sys.modules:
                setattr(sys.modules[parent], child, module)


# --- which modules ---


def _managed() -> list[str]:
    """The modules whose source is known: those that were imported here, and those that these were seen to import."""
    return [name for name, module in list(sys.modules.items()) if _ATTRIBUTE in getattr(module, "__dict__", ())]


def _stale() -> set[str]:
    """Modules that changed on the disk or are gone, those that import such, and the packages that these are in."""
    managed = {name: source for name in _managed() if (source := _source(name)) is not None}
    stale = {name for name, source in managed.items() if _digest(source.path) != source.digest}
    grown = 0
    while len(stale) != grown:
        grown = len(stale)
        # Else the old code would find the new module as an attribute of its old package.
        stale.update(parent for name in tuple(stale) for parent in _parents(name) if parent in managed)
        stale.update(name for name, source in managed.items() if not stale.isdisjoint(source.imports))
    return stale


def _closure(name: str) -> set[str]:
    """A module and the user's modules that it imports, however indirectly, with the packages that they are in."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        source = _source(name)
        if name not in found and source is not None:
            found.add(name)
            waiting += [*source.imports, *_parents(name)]
    return found


def _source(name: str) -> Source | None:
    """What a module that is loaded was made from; None for one that is not the user's.

    One that was imported by somebody else, before us or within a function, is taken for what its file says now.
    """
    module = sys.modules.get(name)
    if module is None:
        return None
    known = vars(module).get(_ATTRIBUTE)
    if isinstance(known, Source):
        return known
    path = getattr(module, "__file__", None)
    if not isinstance(path, str) or not path.endswith(".py") or not _is_users(name, path):
        return None
    try:
        data = Path(path).read_bytes()
    except OSError:
        return None
    source = _read(name, path, data, hasattr(module, "__path__"))
    setattr(module, _ATTRIBUTE, source)
    return source


def _is_users(name: str, path: str, of: Sequence[str] = ()) -> bool:
    """Whether a module may be imported again; ``of`` are the packages of sinks, which may be installed ones."""
    top = _top(name)
    if top == _OURS:
        return False
    if top in of:
        return True
    parts = Path(path).parts
    return not path.startswith(_LIBRARY) and not any(part in parts for part in _INSTALLED)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


# --- reading ---


def _digest(path: str) -> bytes | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:
        return None


def _read(name: str, path: str, data: bytes, is_package: bool) -> Source:
    try:
        tree = ast.parse(data, path)
        imports = frozenset(_imports(tree, name if is_package else name.rpartition(".")[0]))
    except (SyntaxError, ValueError):
        imports = frozenset()
    return Source(path, hashlib.sha256(data).digest(), imports)


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from (alias.name, *_parents(alias.name))
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            base = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module:
                yield from (module, *_parents(module))
                yield from (f"{module}.{alias.name}" for alias in node.names)


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs a module from its source, and notes what that was."""

    def get_code(self, fullname: str) -> CodeType:
        return self._compiled(fullname)[0]

    def exec_module(self, module: ModuleType) -> None:
        code, source = self._compiled(module.__name__)
        setattr(module, _ATTRIBUTE, source)
        for name in list(sys.modules):
            # A package that is new knows those of its modules that stayed.
            if name.rpartition(".")[0] == module.__name__:
                setattr(module, name.rpartition(".")[2], sys.modules[name])
        exec(code, vars(module))  # noqa: S102 - this is what an import is

    def _compiled(self, name: str) -> tuple[CodeType, Source]:
        path = self.get_filename(name)
        data = self.get_data(path)
        return self.source_to_code(data, path), _read(name, path, data, self.is_package(name))


class _Finder:
    """Finds what Python's own finder finds, and has the user's modules loaded by ``_Loader``."""

    def __init__(self, of: Iterable[str]) -> None:
        self._of = tuple(of)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """What Python asks of a finder."""
        found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if found is None or type(found.loader) is not importlib.machinery.SourceFileLoader or not found.origin:
            return found
        if _is_users(fullname, found.origin, self._of):
            found.loader = _Loader(fullname, found.origin)
            found.cached = None
        return found


@contextmanager
def _finding(name: str) -> Iterator[None]:
    """Imports within it are ours."""
    finder = _Finder([_top(name)] if name else [])
    # In front of the finder of files, behind those of frozen and built-in modules.
    place = next((n for n, each in enumerate(sys.meta_path) if each is importlib.machinery.PathFinder), len(sys.meta_path))
    sys.meta_path.insert(place, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
