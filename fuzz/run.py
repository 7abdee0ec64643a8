"""Runs one target with atheris, which keeps those inputs that reach new code: ``python -m fuzz.run TARGET --seconds N``.

Begins with the seeds of ``corpus/TARGET`` and the kept inputs of ``tests/regressions/TARGET``; what it learns goes to ``.fuzz/TARGET``
beside the repository's files, which git does not keep. An input that breaks a promise is written to ``.fuzz`` and named; put it into
``tests/regressions/TARGET`` with a name that says what it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[1]

with atheris.instrument_imports(include=["penstock"]):
    from .targets import TARGETS


def main() -> None:
    """Runs the target until the time is over or an input breaks a promise."""
    parser = argparse.ArgumentParser(prog="fuzz.run")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--most", type=int, default=4096, help="octets of an input")
    given = parser.parse_args()
    learnt = ROOT / ".fuzz" / given.target
    learnt.mkdir(parents=True, exist_ok=True)
    seeds = [path for path in (ROOT / "fuzz/corpus" / given.target, ROOT / "tests/regressions" / given.target) if path.is_dir()]
    # An input may take 5 s and 1 GiB at most: what takes longer for 4 KiB takes for ever for a message.
    options = [f"-max_total_time={given.seconds}", f"-max_len={given.most}", "-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1"]
    where = f"-artifact_prefix={ROOT / '.fuzz' / given.target}-"
    atheris.Setup([sys.argv[0], *options, where, str(learnt), *map(str, seeds)], TARGETS[given.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
