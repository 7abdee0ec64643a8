"""Runs ``penstock`` as a shell would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def penstock(*arguments: str, stdin: bytes = b"", cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """The command with these arguments, its output captured through pipes."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock", *arguments],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env={**{name: value for name, value in os.environ.items() if name != "PENSTOCK_CONFIG"}, **env},
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
