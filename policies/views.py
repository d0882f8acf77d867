"""Questions that several policies ask of the replicas they see; free to use in a policy of yours.

`phase` is PREFILL_ROLE or DECODE_ROLE. A replica serves a phase if it is up and has that role,
alone or with the other; it plays a role if it is up and has exactly that one. Among equals the
lowest index is named, and -1 where there is none.
"""

from typing import Any

from mltwin.models.serving.hooks import UP


def serves(replica: Any, phase: int) -> bool:
    """Whether a replica is up and has the role of this phase."""
    return replica.state == UP and (replica.role & phase) != 0


def plays(replica: Any, role: int) -> bool:
    """Whether a replica is up and has exactly this role."""
    return replica.state == UP and replica.role == role


def shorter_queue(one: Any, other: Any) -> bool:
    """Whether a replica has fewer tokens queued than another, or as many and fewer requests
    outstanding: those that are being prefilled are queued no more."""
    if one.queued_tokens != other.queued_tokens:
        return one.queued_tokens < other.queued_tokens
    return one.outstanding < other.outstanding


def count_serving(replicas: Any, phase: int) -> int:
    """How many replicas serve a phase."""
    count = 0
    for i in range(len(replicas)):
        if serves(replicas[i], phase):
            count += 1
    return count


def nth_serving(replicas: Any, phase: int, n: int) -> int:
    """The n-th (from 0) replica that serves a phase."""
    for i in range(len(replicas)):
        if serves(replicas[i], phase):
            if n == 0:
                return i
            n -= 1
    return -1


def fewest_tokens(replicas: Any, phase: int) -> int:
    """The replica that serves a phase with the fewest outstanding tokens."""
    best = -1
    for i in range(len(replicas)):
        if serves(replicas[i], phase) and (
            best < 0 or replicas[i].outstanding_tokens < replicas[best].outstanding_tokens
        ):
            best = i
    return best


def fewest_requests(replicas: Any, phase: int) -> int:
    """The replica that serves a phase with the fewest outstanding requests."""
    best = -1
    for i in range(len(replicas)):
        if serves(replicas[i], phase) and (
            best < 0 or replicas[i].outstanding < replicas[best].outstanding
        ):
            best = i
    return best


def fewest_tokens_of_role(replicas: Any, role: int) -> int:
    """The replica that plays a role with the fewest outstanding tokens."""
    best = -1
    for i in range(len(replicas)):
        if plays(replicas[i], role) and (
            best < 0 or replicas[i].outstanding_tokens < replicas[best].outstanding_tokens
        ):
            best = i
    return best


def fewest_requests_of_role(replicas: Any, role: int) -> int:
    """The replica that plays a role with the fewest outstanding requests."""
    best = -1
    for i in range(len(replicas)):
        if plays(replicas[i], role) and (
            best < 0 or replicas[i].outstanding < replicas[best].outstanding
        ):
            best = i
    return best
