"""Users of the system, by PAM: through its C library, since the Python packages for it have not been looked after for years.

PAM waits for disks and networks, so it runs in a thread. Shadow passwords can be read by root alone, or by a helper of PAM's for the
server's own user; a server that does not run as root asks Dovecot instead (``credentials_dovecot``).

Source: pam_start(3), pam_conv(3), pam_authenticate(3), pam_acct_mgmt(3).
"""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock import Sink
from penstock.errors import ConfigError

from .credentials_elsewhere import PasswordElsewhere
from .lookup import LookupFailed

_SUCCESS, _BUFFER_ERROR, _CONVERSATION_ERROR = 0, 5, 19
# PAM_AUTH_ERR, PAM_USER_UNKNOWN, PAM_MAXTRIES, PAM_ACCT_EXPIRED, PAM_NEW_AUTHTOK_REQD, PAM_PERM_DENIED: no, and no fault of anything.
_NO = frozenset({7, 10, 11, 13, 12, 6})
_ECHO_OFF, _ECHO_ON = 1, 2
_SILENT = 0x8000
_REMOTE_HOST = 4
# At a time: a module that hangs must not take all threads there are.
_AT_A_TIME = 4
_MOST_MESSAGES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsPamSettings:
    """Which service of PAM is asked.

    Args:
        service: the name of its file below ``/etc/pam.d``.
        folder: where its file is instead; None for the system's folders.
        seconds: how long it may take; modules delay failures by some two seconds.
    """

    service: str
    folder: Path | None = None
    seconds: float = 15.0


class _Message(ctypes.Structure):
    _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]


class _Response(ctypes.Structure):
    _fields_ = [("text", ctypes.c_void_p), ("code", ctypes.c_int)]


_Converse = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.POINTER(_Message)), ctypes.POINTER(ctypes.POINTER(_Response)), ctypes.c_void_p
)


class _Conversation(ctypes.Structure):
    _fields_ = [("converse", _Converse), ("data", ctypes.c_void_p)]


class CredentialsPam(PasswordElsewhere, Sink[CredentialsPamSettings]):
    """Has PAM compare the password, and say whether the account may be used.

    Raises: ConfigError when PAM is not installed; ValueError for a service that would lead out of its folder.
    """

    settings: CredentialsPamSettings

    def __init__(self, settings: CredentialsPamSettings) -> None:
        super().__init__(settings)
        if not settings.service or "/" in settings.service or settings.service.startswith("."):
            raise ValueError(f"service: {settings.service!r} should be the name of a file below /etc/pam.d")
        self._pam, self._libc = _libraries()
        self._room = asyncio.Semaphore(_AT_A_TIME)

    async def ask(self, user: str, password: str, client_ip: str) -> str | None:
        """Asks PAM, in a thread."""
        async with self._room:
            code = await asyncio.to_thread(self._authenticate, user.encode(), password.encode(), client_ip.encode())
        if code == _SUCCESS:
            return user
        if code in _NO:
            return None
        raise LookupFailed(f"PAM says {code}")

    def _authenticate(self, user: bytes, password: bytes, client_ip: bytes) -> int:
        """What PAM says in the end."""
        conversation = _Conversation(_Converse(self._answers(password)), None)
        handle = ctypes.c_void_p()
        started = self._start(user, conversation, handle)
        if started != _SUCCESS:
            raise LookupFailed(f"PAM does not start: {started}")
        code = _SUCCESS
        try:
            self._pam.pam_set_item(handle, _REMOTE_HOST, client_ip)
            code = self._pam.pam_authenticate(handle, _SILENT)
            if code == _SUCCESS:
                code = self._pam.pam_acct_mgmt(handle, _SILENT)
        finally:
            self._pam.pam_end(handle, code)
        return int(code)

    def _start(self, user: bytes, conversation: _Conversation, handle: ctypes.c_void_p) -> int:
        service, folder = self.settings.service.encode(), self.settings.folder
        if folder is None:
            return int(self._pam.pam_start(service, user, ctypes.byref(conversation), ctypes.byref(handle)))
        return int(self._pam.pam_start_confdir(service, user, ctypes.byref(conversation), str(folder).encode(), ctypes.byref(handle)))

    def _answers(self, password: bytes) -> Any:
        """The function that PAM calls with its questions; all that it may ask is the password."""

        def converse(count: int, messages: Any, responses: Any, _data: Any) -> int:
            if not 0 < count <= _MOST_MESSAGES:
                return _CONVERSATION_ERROR
            # PAM frees what it is given, so it is memory of the C library's.
            block = self._libc.calloc(count, ctypes.sizeof(_Response))
            if not block:
                return _BUFFER_ERROR
            array = ctypes.cast(block, ctypes.POINTER(_Response))
            for number in range(count):
                if messages[number].contents.style in (_ECHO_OFF, _ECHO_ON):
                    array[number].text = self._libc.strdup(password)
            responses[0] = array
            return _SUCCESS

        return converse


def _libraries() -> tuple[Any, Any]:
    name = ctypes.util.find_library("pam")
    try:
        pam, libc = ctypes.CDLL(name or "libpam.so.0"), ctypes.CDLL(None)
    except OSError:
        raise ConfigError("CredentialsPam", "PAM is not installed", "install libpam, or use 'dovecot:/SOCKET'") from None
    pam.pam_start.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p]
    pam.pam_start_confdir.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    pam.pam_set_item.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
    for function in (pam.pam_authenticate, pam.pam_acct_mgmt, pam.pam_end):
        function.argtypes = [ctypes.c_void_p, ctypes.c_int]
    libc.calloc.argtypes, libc.calloc.restype = [ctypes.c_size_t, ctypes.c_size_t], ctypes.c_void_p
    libc.strdup.argtypes, libc.strdup.restype = [ctypes.c_char_p], ctypes.c_void_p
    return pam, libc
