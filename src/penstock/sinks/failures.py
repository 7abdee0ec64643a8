"""What a delivery answers when the disk says no: always "later", since the fault is ours and mail must not pay for it."""

from __future__ import annotations

import errno

from penstock.verdicts import Defer

# Codes and texts of RFC 3463 §3.3, §3.4; the text says nothing of paths or users.
_BY_ERRNO = {
    errno.ENOSPC: Defer(452, "4.3.1", "Insufficient system storage"),
    errno.EDQUOT: Defer(452, "4.2.2", "The mailbox is full"),
    errno.EACCES: Defer(451, "4.2.0", "The mailbox cannot be used now"),
    errno.EPERM: Defer(451, "4.2.0", "The mailbox cannot be used now"),
    errno.ENOTDIR: Defer(451, "4.2.0", "The mailbox cannot be used now"),
    errno.ENAMETOOLONG: Defer(451, "4.2.0", "The mailbox cannot be used now"),
}
_OTHER = Defer(451, "4.3.0", "The mail system has a temporary problem")


def put_off(error: OSError) -> Defer:
    """The verdict for an error of the disk, with the status that says most about it (RFC 3463)."""
    return _BY_ERRNO.get(error.errno or 0, _OTHER)
