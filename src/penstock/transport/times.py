"""The times of one message: the schedule of its domain, as what its own sender asked for changes it (RFC 2852, RFC 4865).

Everybody who asks when a message is given up, or its sender told of a delay, asks with these, so that nobody can forget it.
"""

from __future__ import annotations

from dataclasses import replace

from ..mail.message import MessageRecord
from ..queue.policy import RetryPolicy

# A message whose time is over already is returned at its first failure, which is as soon as it can be said.
_AT_ONCE = 0.001


def for_message(policy: RetryPolicy, record: MessageRecord) -> RetryPolicy:
    """The schedule of a message.

    Args:
        policy: of its domain.
        record: the message.

    With DELIVERBY and "R" it is given up when its time is over; with "N" its sender is told then, and it goes on (RFC 2852 §4).
    """
    by = record.envelope.parameters.by
    if by is None:
        return policy
    seconds = max(float(by), _AT_ONCE)
    if record.envelope.parameters.by_mode == "R":
        return replace(policy, expire=min(policy.expire, seconds))
    return replace(policy, notices=(*policy.notices, seconds))


def is_returned_by_request(record: MessageRecord, policy: RetryPolicy) -> bool:
    """Whether it is its sender's time that ends first, and not that of the schedule."""
    parameters = record.envelope.parameters
    return parameters.by is not None and parameters.by_mode == "R" and parameters.by < policy.expire
