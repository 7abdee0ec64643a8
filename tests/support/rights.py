"""A server that root starts and another user runs: in a folder that others may enter, with a Python that they can run.

pytest's own folders are root's alone, and so is, on many machines, the Python that runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

import penstock

from .server import Server

# "nobody" on most systems; a number is all that is needed.
SOMEBODY = 65534


def as_root() -> None:
    """Skips the test when we are not root."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that all users may enter, and nobody but root may write into."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-rights-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def python_for_all() -> tuple[str, dict[str, str]]:
    """A Python that any user can run, and the environment in which it finds Penstock; skips the test where there is none."""
    sources = [
        str(Path(msgspec.__file__).parent.parent),
        str(Path(penstock.__file__).parent.parent),
        str(Path(__file__).resolve().parent.parent),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sources)}
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if Path(python).exists() and _runs(python, environment):
            return python, environment
    pytest.skip(f"there is no {version} that users other than root can run")


def _runs(python: str, environment: dict[str, str]) -> bool:
    command = [python, "-c", "import msgspec, structlog, typer, uvloop"]
    try:
        done = subprocess.run(
            command, env=environment, cwd="/", user=SOMEBODY, group=SOMEBODY, extra_groups=[], capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


class RightsServer(Server):
    """A server whose configuration names a user.

    Args:
        folder: one that all may enter.
        user: as in ``[server]``; "" for none.
        server: further keys of ``[server]``.
        workers: how many.
        more: TOML to append.
    """

    def __init__(self, folder: Path, user: str = str(SOMEBODY), *, server: str = "", workers: int = 1, more: str = "") -> None:
        self._keys = (f'user = "{user}"\n' if user else "") + server
        super().__init__(folder, workers=workers, more=more)
        self.python, self.environment = python_for_all()
        self.mail.mkdir(mode=0o700, exist_ok=True)
        if user:
            os.chown(self.mail, SOMEBODY, SOMEBODY)

    def configure(self, more: str) -> None:
        """Writes the configuration with the keys of ``[server]``."""
        super().configure(more)
        self.config.write_text(self.config.read_text().replace("[server]\n", "[server]\n" + self._keys))
        self.config.chmod(0o644)
