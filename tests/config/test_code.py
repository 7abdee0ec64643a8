"""The user's modules are imported anew when they or what they import changed, and put back when that fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.config import code


class Folder:
    """A folder on the import path, with modules of a test's own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **modules: str) -> None:
        """Writes modules; ``a__b`` is b in the package a."""
        for name, text in modules.items():
            package = name.endswith("__")
            file = self.path / name[:-2] / "__init__.py" if package else self.path.joinpath(*name.split("__")).with_suffix(".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Folder(tmp_path)
    for name in set(sys.modules) - before:
        del sys.modules[name]


def _again(name: str) -> code.Stage:
    """Imports a module as a reload does, and keeps it."""
    stage = code.Stage()
    code.load(name)
    stage.keep()
    return stage


def _own(stage: code.Stage) -> set[str]:
    """What was taken out again, without modules of other tests, whose files are gone."""
    return {name for name in stage.stale if name.startswith(("mod_", "pack_"))}


def test_a_changed_module_is_a_new_one_and_the_old_one_is_as_it_was(folder: Folder) -> None:
    folder.write(mod_a="WORD = 1\ndef word(): return WORD\n")
    old = code.load("mod_a")
    version = code.version("mod_a")
    assert len(version) == code.DIGITS
    folder.write(mod_a="WORD = 2\ndef word(): return WORD\n")
    assert _own(_again("mod_a")) == {"mod_a"}
    new = sys.modules["mod_a"]
    assert (old.word(), new.word()) == (1, 2)
    assert code.version("mod_a") != version
    folder.write(mod_a="WORD = 1\ndef word(): return WORD\n")
    _again("mod_a")
    assert code.version("mod_a") == version


def test_what_did_not_change_is_the_same_module_and_version(folder: Folder) -> None:
    folder.write(mod_b="import json\n", mod_c="import mod_b\n")
    old, version = code.load("mod_c"), code.version("mod_c")
    assert _own(_again("mod_c")) == set()
    assert sys.modules["mod_c"] is old
    assert code.version("mod_c") == version


@pytest.mark.parametrize(
    "imports",
    [
        "import helper_d",
        "from helper_d import WORD",
        "def later():\n    import helper_d\n    return helper_d\nlater()",
        "from middle_d import WORD",
    ],
)
def test_a_change_of_a_module_that_it_imports_is_noticed(folder: Folder, imports: str) -> None:
    folder.write(helper_d="WORD = 1\n", middle_d="from helper_d import WORD\n", mod_d=f"{imports}\n")
    code.load("mod_d")
    version = code.version("mod_d")
    folder.write(helper_d="WORD = 2\n")
    assert {"helper_d", "mod_d"} <= _again("mod_d").stale
    assert code.version("mod_d") != version
    assert sys.modules["helper_d"].WORD == 2


def test_packages_are_followed_and_keep_those_of_their_modules_that_did_not_change(folder: Folder) -> None:
    folder.write(
        pack_e__="", pack_e__one="from . import two\nfrom .three import WORD\n", pack_e__two="WORD = 1\n", pack_e__three="WORD = 1\n",
        pack_e__four="", mod_e="import pack_e.one\nimport pack_e.four\n",
    )  # fmt: skip
    code.load("mod_e")
    code.version("mod_e")
    old, four = sys.modules["pack_e"], sys.modules["pack_e.four"]
    folder.write(pack_e__three="WORD = 2\n")
    assert _own(_again("mod_e")) == {"pack_e", "pack_e.one", "pack_e.three", "mod_e"}
    assert sys.modules["pack_e.one"].WORD == 2
    assert old.one.WORD == 1
    assert sys.modules["pack_e"].four is four


def test_a_quick_change_of_the_same_size_is_seen(folder: Folder) -> None:
    """Python's own cache would take the old byte code: same second, same size."""
    folder.write(mod_f="WORD = 0\n")
    code.load("mod_f")
    for word in range(1, 8):
        folder.write(mod_f=f"WORD = {word}\n")
        _again("mod_f")
        assert word == sys.modules["mod_f"].WORD


def test_a_syntax_error_names_file_and_line_and_the_old_modules_are_put_back(folder: Folder) -> None:
    folder.write(helper_g="WORD = 1\n", mod_g="import helper_g\n")
    code.load("mod_g")
    code.version("mod_g")
    old = {name: sys.modules[name] for name in ("mod_g", "helper_g")}
    folder.write(helper_g="WORD = 2\n", mod_g="import helper_g\nimport new_g\nWORD =\n", new_g="")
    stage = code.Stage()
    with pytest.raises(SyntaxError, match=r"mod_g.py, line 3"):
        code.load("mod_g")
    stage.undo()
    assert {name: sys.modules[name] for name in old} == old
    assert "new_g" not in sys.modules
    folder.write(mod_g="import helper_g\n")
    _again("mod_g")
    assert sys.modules["helper_g"].WORD == 2


def test_a_file_that_is_gone_fails_where_it_is_wanted_and_nowhere_else(folder: Folder) -> None:
    folder.write(helper_h="", mod_h="import helper_h\n")
    code.load("mod_h")
    code.version("mod_h")
    (folder.path / "helper_h.py").unlink()
    stage = code.Stage()
    with pytest.raises(ModuleNotFoundError, match="helper_h"):
        code.load("mod_h")
    stage.undo()
    assert "helper_h" in sys.modules
    folder.write(mod_h="")
    _again("mod_h")
    assert "helper_h" not in sys.modules


def test_what_raises_halfway_is_not_left_behind(folder: Folder) -> None:
    folder.write(mod_i="WORD = 1\n")
    code.load("mod_i")
    code.version("mod_i")
    folder.write(mod_i="import other_i\nraise RuntimeError('no')\n", other_i="")
    stage = code.Stage()
    with pytest.raises(RuntimeError):
        code.load("mod_i")
    stage.undo()
    assert sys.modules["mod_i"].WORD == 1
    assert "other_i" not in sys.modules


def test_penstock_and_the_standard_library_are_never_imported_again(folder: Folder) -> None:
    folder.write(mod_j="import json\nfrom penstock.sinks import archive\n")
    code.load("mod_j")
    code.version("mod_j")
    kept = {name: sys.modules[name] for name in ("json", "penstock.sinks.archive", "penstock")}
    folder.write(mod_j="import json\nfrom penstock.sinks import archive\nNEW = 1\n")
    assert _own(_again("mod_j")) == {"mod_j"}
    assert {name: sys.modules[name] for name in kept} == kept
    assert code.version("penstock.sinks.archive") == sys.modules["penstock"].__version__
    assert code.version("json") == ""


def test_an_installed_package_is_imported_again_when_a_sink_comes_from_it(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after ``pip install --upgrade``; libraries beside it stay."""
    site = folder.path / "site-packages"
    Folder(site).write(pack_k__="", pack_k__sinks="import library_k\nWORD = 1\n", library_k="WORD = 1\n")
    monkeypatch.syspath_prepend(str(site))
    code.load("pack_k.sinks")
    code.version("pack_k.sinks")
    Folder(site).write(pack_k__sinks="import library_k\nWORD = 2\n", library_k="WORD = 2\n")
    assert _own(_again("pack_k.sinks")) == {"pack_k", "pack_k.sinks"}
    assert sys.modules["pack_k.sinks"].WORD == 2
    assert sys.modules["library_k"].WORD == 1


def test_modules_that_import_each_other_do_not_go_round_for_ever(folder: Folder) -> None:
    folder.write(mod_l="import mod_m\n", mod_m="import mod_l\n")
    code.load("mod_l")
    version = code.version("mod_l")
    folder.write(mod_m="import mod_l\nNEW = 1\n")
    assert _own(_again("mod_l")) == {"mod_l", "mod_m"}
    assert code.version("mod_l") != version
