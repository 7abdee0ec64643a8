"""Skips that say what is missing and which Debian package has it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

PACKAGES = {
    "swaks": "swaks",
    "msmtp": "msmtp",
    "postfix": "postfix",
    "postconf": "postfix",
    "sendmail": "postfix",
    "smtp-source": "postfix",
    "losetup": "mount",
    "mount": "mount",
    "mkfs.ext4": "e2fsprogs",
    "openssl": "openssl",
    "unshare": "util-linux",
    "dovecot": "dovecot-lmtpd",
    "slapd": "slapd",
    "slapadd": "slapd",
    "ldapsearch": "ldap-utils",
    "setpriv": "util-linux",
    "haproxy": "haproxy",
}
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def needs(*tools: str) -> None:
    """Skips the test when one of the programs is not there."""
    for tool in tools:
        if program(tool) is None:
            pytest.skip(f"{tool} is not installed (Debian package: {PACKAGES.get(tool, tool)})")


def program(tool: str) -> str | None:
    """The full path of a program, /usr/sbin included."""
    return shutil.which(tool, path=PATH)


def needs_root(why: str) -> None:
    """Skips the test unless run by root."""
    if os.geteuid() != 0:
        pytest.skip(f"needs root: {why}")


def needs_loop_devices() -> None:
    """Skips the test where a file cannot become a block device, as in most containers."""
    needs_root("loop devices and mounts")
    needs("losetup", "mount", "mkfs.ext4")
    if not Path("/dev/loop-control").exists():
        pytest.skip("no loop devices here (/dev/loop-control is missing)")
