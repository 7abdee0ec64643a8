"""The units of systemd that are shipped: it knows every word of them, and they keep what the manual says."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from support.needs import program

UNITS = Path(__file__).resolve().parents[2] / "packaging" / "systemd"
SERVICE, SOCKET = UNITS / "penstock.service", UNITS / "penstock.socket"


class _Unit(configparser.RawConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr


def _read(path: Path) -> _Unit:
    """A unit, where a key may be there several times: the last one counts here."""
    unit = _Unit(strict=False, delimiters=("=",), comment_prefixes=("#", ";"), interpolation=None)
    unit.read(path)
    return unit


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """Unknown keys and wrong values are only warned of by systemd, which would run the server without what they ask for."""
    tool = program("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed (Debian package: systemd)")
    for path in (SERVICE, SOCKET):
        # The one thing that is not here is where Penstock will be installed.
        (tmp_path / path.name).write_text(re.sub(r"/opt/penstock/bin/penstock", "/bin/true", path.read_text()))
    done = subprocess.run(
        [tool, "verify", "--man=no", str(tmp_path / SERVICE.name), str(tmp_path / SOCKET.name)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    said = [line for line in (done.stdout + done.stderr).decode().splitlines() if "penstock" in line]
    assert (done.returncode, said) == (0, [])


def test_the_service_is_confined() -> None:
    """What an administrator may rely on without reading it."""
    service = _read(SERVICE)["Service"]
    assert service["Type"] == "notify"
    assert service["User"] == "penstock"
    assert service["UMask"] == "0077"
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"
    for key in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectKernelModules", "RestrictSUIDSGID", "LockPersonality"):
        assert service[key] == "yes", key
    assert service["ProtectSystem"] == "strict"
    assert service["RestartPreventExitStatus"] == "78"


def test_no_shell_is_started_and_the_time_to_end_is_longer_than_a_drain() -> None:
    """The drain of the defaults, and what the supervisor adds to it."""
    service = _read(SERVICE)["Service"]
    for key in ("ExecStart", "ExecReload"):
        assert service[key].startswith("/opt/penstock/bin/penstock ")
        assert not re.search(r"[;&|$`]", service[key])
    assert int(service["TimeoutStopSec"]) >= 300 + 15


def test_the_socket_has_the_name_of_the_listener() -> None:
    """Or it would be nobody's."""
    text = (UNITS.parents[1] / "docs" / "operations.md").read_text()
    assert _read(SOCKET)["Socket"]["FileDescriptorName"] == "mx"
    assert "packaging/systemd" in text
