"""Every target of fuzz/ keeps its promises for its seeds, for each input that once broke one, and for mutations of both.

The long runs are by hand (fuzz/README.md); here is what tells that a target still works, and that no old fault is back.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
SPICE = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\xff",
    b".",
    b"\r\n.\r\n",
    b'"',
    b"\\",
    b"<",
    b">",
    b"=?",
    b"?=",
    b"(",
    b"*",
    b":",
    b" ",
    b"\t",
    b"x" * 300,
]


def inputs(target: str) -> list[Path]:
    """The seeds of a target, and the inputs that once broke it."""
    folders = (ROOT / "fuzz/corpus" / target, ROOT / "tests/regressions" / target)
    return sorted(path for folder in folders if folder.is_dir() for path in folder.iterdir())


def mutated(dice: random.Random, data: bytes) -> bytes:
    """The octets with some of them changed, doubled, or taken out, and some put in."""
    made = bytearray(data)
    for _ in range(dice.randrange(1, 6)):
        at = dice.randrange(len(made) + 1)
        end = min(len(made), at + dice.choice((0, 0, 1, 2, 8)))
        kind = dice.randrange(3)
        made[at:end] = dice.choice(SPICE) if kind == 0 else dice.randbytes(dice.randrange(4)) if kind == 1 else bytes(made[at:end]) * 2
    return bytes(made)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_keeps_its_promises(target: str) -> None:
    """For seeds, old findings, nothing at all, and their mutations, which are the same every time."""
    paths, dice = inputs(target), random.Random(target)
    assert paths, f"{target} has no seeds: python -m fuzz.seeds"
    octets = [b"", *(path.read_bytes() for path in paths)]
    for data in octets:
        TARGETS[target](data)
    for _ in range(10 if target == "spool" else 150):
        data = mutated(dice, dice.choice(octets))
        try:
            TARGETS[target](data)
        except BaseException:
            print(f"{target} broke its promise for {data!r}")
            raise


def test_every_kept_input_belongs_to_a_target() -> None:
    for folder in (ROOT / "fuzz/corpus", ROOT / "tests/regressions"):
        assert not folder.is_dir() or {path.name for path in folder.iterdir()} <= set(TARGETS)
