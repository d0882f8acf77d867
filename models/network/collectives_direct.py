"""Straight from rank to rank, in halves, and through a switch that adds."""

import numpy as np

from mltwin.sim.errors import InputError

from .collectives_table import Steps, in_turn, padded, steps_of

MOST_DIRECT = 256
"""Members of a direct all-reduce: each transfer of its second half waits for n-1 others."""
MOST_EXCHANGING = 2048
"""Members that all send to all: 4.2 million transfers."""


def direct(kind: str, n: int) -> Steps:
    """Every member sends to every other at the same time.

    All-reduce: reduce-scatter, then all-gather (as the two-shot kernels of vLLM and TensorRT-LLM).

    Raises:
        InputError: an all-reduce of more than ``MOST_DIRECT`` members, or another collective of
            more than ``MOST_EXCHANGING``.
    """
    if kind == "all_reduce":
        if n > MOST_DIRECT:
            raise InputError(
                f"direct all-reduce of {n} ranks", mend=f"at most {MOST_DIRECT}; use ring"
            )
        return in_turn(direct("reduce_scatter", n), direct("all_gather", n))
    _not_too_many(kind, n)
    source, turn = np.meshgrid(np.arange(n), np.arange(1, n), indexing="ij")
    target = (source + turn) % n
    exchanged = kind == "all_to_all"
    return steps_of(
        source,
        target,
        1 / n,
        chunk={"reduce_scatter": target, "all_gather": source, "all_to_all": source * n + target}[
            kind
        ],
        count=1,
        adds=kind == "reduce_scatter",
        pieces=n * n if exchanged else n,
        home=np.tile(np.arange(n), n) if exchanged else np.arange(n),
    )


def pairwise(n: int, *, pipelined: bool = False) -> Steps:
    """All-to-all in n-1 steps: in step ``s`` member ``r`` sends to ``r + s + 1`` (Thakur,
    Rabenseifner and Gropp 2005, pairwise exchange).

    Raises:
        InputError: more than ``MOST_EXCHANGING`` members.
    """
    _not_too_many("all_to_all", n)
    step, source = np.meshgrid(np.arange(n - 1), np.arange(n), indexing="ij")
    target = (source + step + 1) % n
    sent = (step - 1) * n + source
    received = (step - 1) * n + (target - step) % n
    after = np.where((step > 0)[..., None], np.stack([sent, received], axis=-1), -1)
    return steps_of(
        source,
        target,
        1 / n,
        after=None if pipelined else after.astype(np.int32).reshape(-1, 2),
        phase=0 if pipelined else step,
        chunk=source * n + target,
        count=1,
        pieces=n * n,
        home=np.tile(np.arange(n), n),
        hops=n - 1 if pipelined else 1,
    )


def _not_too_many(kind: str, n: int) -> None:
    if n > MOST_EXCHANGING:
        raise InputError(
            f"{kind} from each to each of {n} ranks is {n * (n - 1):,} transfers",
            mend=f"at most {MOST_EXCHANGING} ranks; no more fit as flows; use the closed form",
        )


def send_recv() -> Steps:
    """Member 0 sends to member 1."""
    return steps_of([0], 1, 1.0, chunk=0, count=1)


def halving_doubling(kind: str, n: int) -> Steps:
    """Recursive halving (reduce-scatter), doubling (all-gather), or both (all-reduce).

    Thakur, Rabenseifner and Gropp 2005, "Optimization of collective communication operations in
    MPICH". Where n is no power of two, 2^k of the members do an
    all-reduce; each of the others hands its data to one of them before and gets the sum after.

    Raises:
        InputError: reduce-scatter or all-gather of a number that is no power of two.
    """
    core = 1 << (n.bit_length() - 1)
    extra = n - core
    if extra and kind != "all_reduce":
        raise InputError(
            f"halving_doubling of {kind} over {n} ranks", mend="give a power of two, or use ring"
        )
    virtual = np.arange(core)
    member = np.where(virtual < extra, 2 * virtual + 1, virtual + extra)
    spans = [core >> (s + 1) for s in range(core.bit_length() - 1)]
    halves = [_exchange(member, d, reducing=True) for d in spans]
    doubles = [_exchange(member, d, reducing=False) for d in reversed(spans)]
    chosen = {"all_reduce": halves + doubles, "reduce_scatter": halves, "all_gather": doubles}[kind]
    pairs = 2 * np.arange(extra)
    whole = {"count": core, "pieces": core, "home": member}
    parts = [steps_of(part[0], part[1], part[3] / core, chunk=part[2], count=part[3], adds=part[4],
                      pieces=core, home=member) for part in chosen]  # fmt: skip
    if extra:
        before = steps_of(pairs, pairs + 1, 1.0, chunk=0, adds=True, **whole)
        after = steps_of(pairs + 1, pairs, 1.0, chunk=0, **whole)
        parts = [before, *parts, after]
    return _in_step(parts)


def _exchange(
    member: np.ndarray, span: int, *, reducing: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, bool]:
    """Source, target, first chunk, chunks, adds: each swaps ``span`` chunks with the member
    ``span`` away: its partner's half where they reduce, else its own."""
    virtual = np.arange(len(member))
    partner = virtual ^ span
    sent = partner if reducing else virtual
    return member, member[partner], sent // span * span, span, reducing


def _in_step(parts: list[Steps]) -> Steps:
    """Parts in turn, a transfer waiting for what its source and its target got last."""
    lists: list[list[int]] = []
    latest: dict[int, int] = {}
    offset = 0
    for part in parts:
        ends = list(zip(part.source.tolist(), part.target.tolist(), strict=True))
        lists += [sorted({latest[m] for m in pair if m in latest}) for pair in ends]
        latest.update({to: offset + i for i, (_, to) in enumerate(ends)})
        offset += len(ends)

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    phase = np.concatenate([np.full(len(part.source), i) for i, part in enumerate(parts)])
    return steps_of(
        column("source"), column("target"), column("share"), after=padded(lists), phase=phase,
        chunk=column("chunk"), count=column("count"), adds=column("adds"),
        pieces=parts[0].pieces, home=parts[0].home,
    )  # fmt: skip


def in_network(kind: str, n: int, root: int, chunks: int, *, pipelined: bool = False) -> Steps:
    """All-reduce or broadcast through a switch (member -1) that adds and copies: every rank's data
    goes up once and the result comes down once (Graham et al. 2016, SHARP).

    A switch passes a piece on when it has it from all. The latency of one way is half of that
    from rank to rank.
    """
    ups = np.arange(n) if kind == "all_reduce" else np.array([root])
    downs = np.arange(n) if kind == "all_reduce" else np.delete(np.arange(n), root)
    source = np.concatenate([ups, np.full(len(downs), -1)])
    target = np.concatenate([np.full(len(ups), -1), downs])
    adds = target < 0
    if pipelined:
        return steps_of(source, target, 1.0, adds=adds, phase=~adds, hops=2)
    each = len(source)
    lists: list[list[int]] = []
    for piece in range(chunks):
        here = piece * each
        gathered = list(range(here, here + len(ups)))
        for i in range(each):
            lists.append([here - each + i] if piece else [])
            if i >= len(ups):
                lists[-1] += gathered
    piece = np.repeat(np.arange(chunks), each)
    return steps_of(
        np.tile(source, chunks), np.tile(target, chunks), 1 / chunks, after=padded(lists),
        phase=np.tile(~adds, chunks), chunk=piece, count=1, adds=np.tile(adds, chunks),
        pieces=chunks,
    )  # fmt: skip
