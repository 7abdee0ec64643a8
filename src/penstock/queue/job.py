"""What is worked on: a message that is in memory as it came, or the entry of one in the spool."""

from __future__ import annotations

from ..events.work import MessageWork
from ..storage.base import Entry

Job = MessageWork | Entry


def id_of(job: Job) -> str:
    """The id of its entry in the spool."""
    return job.record.id if isinstance(job, MessageWork) else job.id


def size_of(job: Job) -> int:
    """About how many octets it keeps in memory."""
    if isinstance(job, MessageWork):
        return job.content.size if job.content else 0
    return len(job.record)
