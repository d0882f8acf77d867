"""The task graph of a training step, from its `StepWork`."""

from mltwin.sim.errors import InputError

from .graph import COLLECTIVE, COMPUTE, NOTHING, TRANSFER
from .step_closed import chunk_gather, chunk_reduce, unit_steps
from .step_ranks import LOCAL, NEXT_NODE, Row, replicated
from .step_schedule import stage_actions
from .step_work import Pieces, StepWork, Unit
from .tables import CATEGORIES, Graph

STREAMS = {"dp": 1, "tp": 2, "pp": 3, "cp": 4, "ep": 5, "pp back": 6, "dp local": 7}
"""Streams of a device besides 0, which computes; messages back have one of their own, and so do
gradients and weights inside a node where they are sent as transfers."""


class _Rows:
    """Tasks of one GPU a stage, in the order of issue.

    Args:
        wired: weights and gradients are transfers between ranks, not closed forms.
    """

    def __init__(self, work: StepWork, wired: bool) -> None:
        self.work, self.wired = work, wired
        self.rows: list[Row] = []
        self.edges: list[tuple[int, int]] = []

    def add(
        self, category: str, stage: int, length: int, name: str, after: list[int], target: int = -1
    ) -> int:
        """One task; exchanges take their category's stream."""
        wire = category.split()[0] if category in STREAMS else ""
        kind = TRANSFER if wire == "pp" else COLLECTIVE if wire else COMPUTE
        stream = STREAMS.get(category, 0)
        if wire == "dp" and not self.work.plan.overlap:
            stream = 0
        size = self.work.send_bytes if wire == "pp" else 0.0
        code = CATEGORIES.index(wire or category)
        return self._row(Row(kind, stage, stream, length, code, name, target, size), after)

    def _row(self, row: Row, after: list[int]) -> int:
        number = len(self.rows)
        self.rows.append(row)
        self.edges += [(number, other) for other in after if other >= 0]
        return number

    def exchange(self, stage: int, length: int, size: float, name: str, after: list[int]) -> int:
        """A gather or reduction of ``size`` bytes over the data-parallel ranks.

        Wired it is what NCCL's rings send from each rank, one ring for each of a node's ranks: S
        (n - 1)/n bytes, of which 1 of k parts goes to the same rank of the next node and the others
        to the next rank of the node, k ranks a node.
        """
        plan, k = self.work.plan, self.work.together
        if not self.wired:
            return self.add("dp", stage, length, name, after)
        n = plan.data_ranks
        k = k if n % k == 0 else 1
        moved = size * (n - 1) / n
        code = CATEGORIES.index("dp")
        parts = [(NEXT_NODE, moved / k, "dp")] if n > k else []
        parts += [(LOCAL, moved * ((k - 1) / k if n > k else 1.0), "dp local")] if k > 1 else []
        sent = [
            self._row(Row(TRANSFER, stage, STREAMS[stream], 0, code, name, -1, part, hop), after)
            for hop, part, stream in parts
        ]
        if len(sent) == 1:
            return sent[0]
        return self._row(Row(NOTHING, -1, 0, 0, code, name, -1, 0.0), sent)

    def pieces(self, stage: int, pieces: Pieces, name: str, after: list[int]) -> int:
        """Pieces one after another; the number of the last."""
        waits = list(after)
        for piece in pieces:
            last = self.add(piece.category, stage, piece.ticks, name, waits)
            if piece.beside:
                ring = self.add("cp", stage, piece.beside, f"{name} ring", waits)
                waits = [last, ring]
            else:
                waits = [last]
        if len(waits) > 1:
            # What follows waits for the ring too: an empty task stands for both.
            return self.add("other", stage, 0, name, waits)
        return waits[-1] if waits else -1


def build_graph(work: StepWork, *, ranks: str = "one", network: bool | str = False) -> Graph:
    """The graph of a step.

    Args:
        ranks: "one" (device s is stage s, one of its equal GPUs) or "all" (device r is rank r,
            collectives of a group start together).
        network: pipeline messages are transfers between ranks without a duration; "all": weights
            and gradients too (which needs all ranks), so that they share links.

    Raises:
        InputError: another ``ranks`` or ``network``; "all" with experts spread over ranks or
            hybrid sharding, which have rings of their own.
    """
    if ranks not in ("one", "all"):
        raise InputError(f"ranks {ranks!r}", mend="use 'one' or 'all'")
    wired = network == "all"
    if wired and (ranks == "one" or work.plan.ep > 1 or work.plan.shard):
        raise InputError(
            f"network 'all' with ranks {ranks!r}, ep={work.plan.ep}, shard={work.plan.shard}",
            mend="use ranks='all', ep=1 and shard=0",
        )
    if isinstance(network, str) and not wired:
        raise InputError(f"network {network!r}", mend="use True, False or 'all'")
    rows = _Rows(work, wired and work.plan.data_ranks > 1)
    ends = _alone(rows) if work.plan.pp == 1 else _pipeline(rows)
    for stage, waits in enumerate(ends):
        last = rows.add("optimizer", stage, work.optimizer[stage], "optimizer", waits)
        if work.regather[stage]:
            size = sum(u.gather_bytes for c in work.chunks[stage :: work.plan.pp] for u in c)
            last = rows.exchange(stage, work.regather[stage], size, "gather weights", [last])
        if work.host:
            rows.add("host", stage, work.host, "host", [last])
    return replicated(rows.rows, rows.edges, work, everyone=ranks == "all", network=bool(network))


def _alone(rows: _Rows) -> list[list[int]]:
    """A step without a pipeline: units in order, exchanges beside them."""
    work = rows.work
    plan, units = work.plan, work.chunks[0]
    steps = unit_steps(work)
    prefetch = plan.prefetch if plan.overlap else 0
    done: list[int] = []
    gathered: dict[int, int] = {}
    reductions: list[int] = []
    asked = 0
    for i, u in enumerate(steps.unit.tolist()):
        while asked <= i + prefetch and asked < len(steps.unit):
            if steps.gather[asked]:
                ahead = int(steps.unit[asked])
                earlier = asked - prefetch - 1
                waits = [done[earlier]] if earlier >= 0 else []
                name = f"gather {units[ahead].name} {ahead}"
                length, size = int(steps.gather[asked]), units[ahead].gather_bytes
                gathered[asked] = rows.exchange(0, length, size, name, waits)
            asked += 1
        waits = [done[-1]] if done else []
        waits += [gathered[i]] if i in gathered else []
        if not plan.overlap and i and steps.reduce[i - 1]:
            waits.append(reductions[-1])
        name = f"{'FB'[steps.what[i]]} {steps.microbatch[i]} {units[u].name} {u}"
        done.append(rows.pieces(0, steps.pieces[steps.variant[i]], name, waits))
        if steps.reduce[i]:
            label = f"reduce {units[u].name} {u}"
            length, size = int(steps.reduce[i]), units[u].reduce_bytes
            reductions.append(rows.exchange(0, length, size, label, [done[-1]]))
    return [[done[-1], *reductions]]


def _pipeline(rows: _Rows) -> list[list[int]]:
    work = rows.work
    plan, p, chunks = work.plan, work.plan.pp, work.plan.chunks
    orders = [
        stage_actions(plan.schedule, p, plan.microbatches, plan.interleave, s) for s in range(p)
    ]
    left = [0] * chunks
    gathered = [-1] * chunks
    for stage, order in enumerate(orders):
        for action in order:
            if left[action.chunk] == 0 and chunk_gather(work, action.chunk):
                name = f"gather chunk {action.chunk}"
                length = chunk_gather(work, action.chunk)
                size = sum(u.gather_bytes for u in work.chunks[action.chunk])
                gathered[action.chunk] = rows.exchange(stage, length, size, name, [])
            left[action.chunk] += 1
    sent: dict[tuple[str, int, int], int] = {}
    last = [-1] * p
    ends: list[list[int]] = [[] for _ in range(p)]
    place = [0] * p
    while any(place[s] < len(orders[s]) for s in range(p)):
        moved = False
        for s in range(p):
            while place[s] < len(orders[s]):
                what, c, m = orders[s][place[s]]
                edge = c == 0 if what == "F" else c == chunks - 1
                if what != "W" and not edge and (what, c, m) not in sent:
                    break
                waits = [last[s], gathered[c]]
                if what != "W" and not edge:
                    waits.append(sent[what, c, m])
                last[s] = _unit_tasks(rows, s, work.chunks[c], what, m, waits)
                _send(rows, sent, s, what, c, m, last[s])
                left[c] -= 1
                if left[c] == 0 and chunk_reduce(work, c):
                    name = f"reduce chunk {c}"
                    size = sum(u.reduce_bytes for u in work.chunks[c])
                    reduced = rows.exchange(s, chunk_reduce(work, c), size, name, [last[s]])
                    ends[s].append(reduced)
                place[s] += 1
                moved = True
        if not moved:
            raise InputError("the stages of the schedule wait for each other")
    return [[last[s], *ends[s]] for s in range(p)]


def _unit_tasks(
    rows: _Rows, stage: int, units: tuple[Unit, ...], what: str, microbatch: int, waits: list[int]
) -> int:
    ordered = units if what == "F" else units[::-1]
    last = -1
    for unit in ordered:
        pieces = {"F": unit.forward, "B": unit.backward, "W": unit.weights}[what]
        name = f"{what} {microbatch} {unit.name}"
        if pieces:
            last = rows.pieces(stage, pieces, name, waits)
            waits = [last]
    return last


def _send(
    rows: _Rows,
    sent: dict[tuple[str, int, int], int],
    stage: int,
    what: str,
    chunk: int,
    microbatch: int,
    done: int,
) -> None:
    p, chunks = rows.work.plan.pp, rows.work.plan.chunks
    if what == "F" and chunk + 1 < chunks:
        target, category = chunk + 1, "pp"
    elif what == "B" and chunk > 0:
        target, category = chunk - 1, "pp back"
    else:
        return
    name = f"send {what} {microbatch}"
    sent[what, target, microbatch] = rows.add(
        category, stage, rows.work.send, name, [done], target % p
    )
