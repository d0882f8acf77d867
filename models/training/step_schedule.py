"""Orders in which a pipeline stage works: GPipe, 1F1B, interleaved and ZB-H1.

An action is (what, chunk, micro-batch): what is "F" (forward), "B" (gradients of inputs, and of
weights too unless a "W" of its own follows) or "W" (gradients of weights). Chunk c of a model
stands on stage c mod p.
"""

from typing import NamedTuple

from mltwin.sim.errors import InputError


class Action(NamedTuple):
    """One piece of work of a stage: ``what`` is F, B or W."""

    what: str
    chunk: int
    microbatch: int


def stage_actions(
    schedule: str, stages: int, microbatches: int, interleave: int, stage: int
) -> list[Action]:
    """All actions of one stage in order.

    - ``gpipe``: all forward, then all backward (arXiv 1811.06965, section 2.3).
    - ``1f1b``: p - s - 1 forward, then one of each in turn (arXiv 2006.09503, section 2.2).
    - ``interleaved``: 2 (p - s - 1) + (v - 1) p forward first, chunks in groups of p micro-batches
      (arXiv 2104.04473, section 2.2).
    - ``zb-h1``: as 1F1B, but gradients of weights wait for s micro-batches, so that stage s has
      them to do when the others drain (arXiv 2401.10241, section 2.3).

    Raises:
        InputError: an unknown schedule, or micro-batches that p does not divide (interleaved).
    """
    p, m, v = stages, microbatches, interleave
    if schedule == "gpipe":
        return [Action("F", stage, i) for i in range(m)] + [Action("B", stage, i) for i in range(m)]
    if schedule == "1f1b":
        return _alternate(m, min(p - stage - 1, m), lambda i: (stage, i), lambda i: (stage, i))
    if schedule == "interleaved":
        if m % p:
            raise InputError(f"{m} micro-batches over {p} interleaved stages")
        warm = min(2 * (p - stage - 1) + (v - 1) * p, m * v) if m > p else m * v
        if v == 1:
            warm = min(p - stage - 1, m)

        def forward(k: int) -> tuple[int, int]:
            group, inside = divmod(k, p * v)
            return stage + p * (inside // p), group * p + inside % p

        def backward(k: int) -> tuple[int, int]:
            chunk, microbatch = forward(k)
            return stage + p * (v - 1) - (chunk - stage), microbatch

        return _alternate(m * v, warm, forward, backward)
    if schedule == "zb-h1":
        return _zero_bubble(p, m, stage)
    raise InputError(f"no schedule {schedule!r}")


def _alternate(n: int, warm: int, forward: object, backward: object) -> list[Action]:
    """``warm`` forward, then one forward and one backward in turn, then the rest backward."""
    assert callable(forward) and callable(backward)
    actions = [Action("F", *forward(i)) for i in range(warm)]
    for i in range(n - warm):
        actions += [Action("F", *forward(warm + i)), Action("B", *backward(i))]
    return actions + [Action("B", *backward(i)) for i in range(n - warm, n)]


def _zero_bubble(p: int, m: int, stage: int) -> list[Action]:
    order = stage_actions("1f1b", p, m, 1, stage)
    actions: list[Action] = []
    inputs = weights = 0
    for action in order:
        actions.append(action)
        if action.what == "B":
            inputs += 1
            if inputs - weights > stage:
                actions.append(Action("W", stage, weights))
                weights += 1
    return actions + [Action("W", stage, i) for i in range(weights, m)]


def bubble_fraction(
    schedule: str,
    stages: int,
    microbatches: int,
    interleave: int = 1,
    *,
    forward: float = 1.0,
    backward: float = 1.0,
    weights: float = 1.0,
) -> float:
    """Idle time of a stage over its work, by the published formulas, for equal stages and free
    transfers.

    GPipe and 1F1B (p - 1) / m; interleaved (p - 1) / (m v) (arXiv 2104.04473, section 2.2); ZB-H1
    (p - 1)(F + B - W) / (m (F + B + W)) (arXiv 2401.10241, table 2).

    Args:
        forward, backward, weights: F, B and W of one micro-batch on one stage; they matter for
            ZB-H1 only.
    """
    p, m, v = stages, microbatches, interleave
    if schedule == "zb-h1":
        return (p - 1) * (forward + backward - weights) / (m * (forward + backward + weights))
    if schedule == "interleaved":
        return (p - 1) / (m * v)
    if schedule in ("gpipe", "1f1b"):
        return (p - 1) / m
    raise InputError(f"no schedule {schedule!r}")
