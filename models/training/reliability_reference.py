"""The SimPy twin of a long run: one timer per entity, sets and dictionaries, plain integers."""

import math
from functools import partial

import numpy as np

from mltwin.models.serving.reference_clock import Clock, Timer
from mltwin.sim.rng_arrays import FAILURES, SERVICE, exponentials, uniforms
from mltwin.sim.ticks import NEVER

from .reliability import RunOutcome
from .reliability_moves import DRAW_KIND, DRAW_LIFE, DRAW_REPAIR, DRAW_SLOW, DRAWS
from .reliability_reference_parts import PART_OF, Node, Version, law_at
from .reliability_tables import ADAPTIVE, COUNTS, EVENT_NAMES, PARTS, SOURCES, RunPlan

COPY, FLUSH, JOB, NODE, SLOW, RACK, TRACE = range(7)


class RunReference:
    """One run; see `reliability` for the rules."""

    def __init__(self, plan: RunPlan, *, log_steps: bool = False) -> None:
        self.plan, self.log_steps = plan, log_steps
        self.clock = Clock()
        self.nodes = [self._node(number) for number in range(plan.pool)]
        self.racks = [Timer(self.clock, RACK, r, partial(self._rack, r)) for r in range(plan.racks)]
        self.rack_lives = [0] * plan.racks
        self.job = Timer(self.clock, JOB, 0, self._job)
        self.copy = Timer(self.clock, COPY, 0, self._copied)
        self.flush = Timer(self.clock, FLUSH, 0, self._stored)
        self.trace = Timer(self.clock, TRACE, 0, self._trace)
        self.trace_next = 0
        self.slots: dict[int, Node] = {}  # slot -> node of the job
        self.holders: dict[Node, int] = {}  # who holds the state of which slot in memory
        self.held_slots = 0
        self.active = 0
        self.phase, self.since_phase, self.source = "restart", 0, "fresh"
        self.done = Version()
        self.versions: dict[str, Version] = {}
        self.copy_end = self.flush_end = -1
        self.copy_flushes = False
        self.work = 0  # ticks of steps since the last checkpoint
        self.interval = plan.interval
        self.want_grow = self.want_swap = False
        self.resized = 0
        self.step_ticks = self.step_stall = 0
        self.part = dict.fromkeys(PARTS, 0)
        self.count = dict.fromkeys(COUNTS, 0)
        self.up_ticks, self.up_since = 0, 0
        self.end = -1
        self.log: list[tuple[int, int, int, int]] = []

    def run(self) -> RunOutcome:
        """All events in order."""
        for node in self.nodes:
            if node.up:
                self._set_life(node)
        for rack in range(self.plan.racks):
            self._set_rack(rack)
        if self.plan.traced:
            self.trace.set(int(self.plan.trace_time[0]))
        self._try_start()
        while self.end < 0:
            coming = self.clock.env.peek() if self.clock.pending else NEVER
            if coming > self.plan.until or coming >= NEVER:
                self.end = min(self.plan.until, NEVER)
                self._settle(self.end)
                self._count_up(self.end)
                break
            self.clock.env.step()
        parts = {**self.part, "useful": self.done.useful, "shrunk": self.done.shrunk,
                 "straggling": self.done.straggling}  # fmt: skip
        return RunOutcome(
            end=self.end,
            parts=parts,
            counts={**self.count, "steps": self.done.steps},
            finished=self.done.steps >= self.plan.steps,
            up_s=self.up_ticks * 1e-9,
            log=np.array(self.log, np.int64).reshape(-1, 4),
        )

    # -- draws ---------------------------------------------------------------------------------

    def _exponential(self, entity: int, counter: int, stream: int = FAILURES) -> float:
        return float(exponentials(self.plan.seed, stream, entity, counter))

    def _life(self, node: Node) -> int:
        draw = self._exponential(node.number, node.lives * DRAWS + DRAW_LIFE)
        return 1 + int(self.plan.life_mean * law_at(self.plan.life, draw))

    def _set_life(self, node: Node) -> None:
        if self.plan.life_mean > 0:
            node.timer.set(self.clock.now + self._life(node))
        if self.plan.slow_mean > 0 and not node.slow:
            draw = self._exponential(node.number, node.lives * DRAWS + DRAW_SLOW)
            node.slow_timer.set(self.clock.now + 1 + int(self.plan.slow_mean * draw))

    def _set_rack(self, rack: int) -> None:
        draw = self._exponential(self.plan.pool + rack, self.rack_lives[rack])
        self.racks[rack].set(self.clock.now + 1 + int(self.plan.rack_mean * draw))

    # -- steps and checkpoints -----------------------------------------------------------------

    def _start_step(self) -> None:
        plan, now = self.plan, self.clock.now
        ticks = int(plan.step_of[self.active])
        factors = []
        slow = [node for node in self.slots.values() if node.slow]
        well = self.active - len(slow)
        attempt = self.count["attempt"]
        if well:
            x = self._exponential(attempt, 0, SERVICE) / well
            factors.append(1.0 if plan.noise is None else law_at(plan.noise, x))
        for node in slow:
            x = self._exponential(attempt, 1 + node.number, SERVICE)
            own = 1.0 if plan.noise is None else law_at(plan.noise, x)
            factors.append(own * plan.slow_factor)
        ticks = max(1, round(ticks * max(factors)))
        self.count["attempt"] += 1
        update = now + ticks - int(ticks * plan.update_share)
        stall = max(0, self.copy_end - update) if self.copy_end >= 0 else 0
        self.step_ticks, self.step_stall = ticks, stall
        self._enter("step", ticks + stall)

    def _end_step(self) -> None:
        plan = self.plan
        full, here = int(plan.step_of[plan.nodes]), int(plan.step_of[self.active])
        done = self.done
        self.done = Version(done.steps + 1, done.useful + full, done.shrunk + here - full,
                            done.straggling + self.step_ticks - here)  # fmt: skip
        self.part["stall"] += self.step_stall
        self.work += self.step_ticks
        if self.log_steps:
            self._note("step", self.done.steps, self.step_ticks)
        if self.done.steps >= plan.steps:
            self.end = self.clock.now
            self._count_up(self.end)
            self._note("done", self.active, self.done.steps)
        elif not self._replace_slow() and not self._grow():
            if self.work >= self.interval:
                self._begin_checkpoint()
            else:
                self._start_step()

    def _wanted(self) -> bool:
        every = self.plan.storage_every
        return every > 0 and self.count["checkpoints"] % every == 0

    def _begin_checkpoint(self) -> None:
        self.work = 0
        self.count["checkpoints"] += 1
        busy = [self.clock.now]
        if self.copy_end >= 0:
            flush = self.plan.flush if self._wanted() and self.copy_flushes else 0
            busy.append(self.copy_end + flush)
        if self.flush_end >= 0 and self._wanted():
            busy.append(self.flush_end)
        self.versions["taken"] = self.done
        stop = max(busy) - self.clock.now + self.plan.block
        self._note("checkpoint", self.count["checkpoints"], stop)
        self._enter("checkpoint", stop)

    def _end_block(self) -> None:
        self._settle(self.clock.now)
        self.versions["copying"] = self.versions["taken"]
        self.copy_flushes = self._wanted()
        if self.plan.snapshot:
            self.copy_end = self.clock.now + self.plan.snapshot
            self.copy.set(self.copy_end)
        else:
            self._copied()
        self._adapt()
        self._start_step()

    def _copied(self) -> None:
        self.copy_end = -1
        version = self.versions["copying"]
        self._note("copied", version.steps, int(self.copy_flushes))
        if self.plan.memory:
            self.versions["memory"] = version
        if self.copy_flushes:
            self.versions["flushing"] = version
            if self.plan.flush:
                self.flush_end = self.clock.now + self.plan.flush
                self.flush.set(self.flush_end)
            else:
                self._stored()

    def _stored(self) -> None:
        self.flush_end = -1
        self.versions["storage"] = self.versions["flushing"]
        self._note("stored", self.versions["storage"].steps, 0)

    def _adapt(self) -> None:
        plan = self.plan
        if plan.interval_kind == ADAPTIVE:
            between = (self.clock.now + plan.prior) / (self.count["interruptions"] + 1)
            best = round(math.sqrt(2.0 * plan.cost * between))
            self.interval = max(best, plan.interval_least)

    # -- phases --------------------------------------------------------------------------------

    def _enter(self, phase: str, duration: int) -> None:
        self.phase, self.since_phase = phase, self.clock.now
        self.job.set(self.clock.now + duration)

    def _settle(self, now: int) -> None:
        self.part[PART_OF[self.phase]] += now - self.since_phase
        self.since_phase = now

    def _job(self) -> None:
        if self.phase == "step":
            self._end_step()
        elif self.phase == "checkpoint":
            self._end_block()
        else:
            self._settle(self.clock.now)
            self._resume()

    def _possible(self) -> int:
        plan = self.plan
        up = min(sum(node.up for node in self.nodes), plan.nodes)
        if plan.elastic == 0:
            return plan.nodes if up == plan.nodes else 0
        up = up // plan.unit * plan.unit
        return up if up >= plan.least else 0

    def _assign(self, count: int) -> None:
        self.slots = {slot: node for slot, node in self.slots.items() if slot < count}
        free = [node for node in self.nodes if node.up and node not in self.slots.values()]
        free.sort(key=lambda node: (node.marked, node.number))
        for slot, node in zip([s for s in range(count) if s not in self.slots], free, strict=False):
            self._take(slot, node)
        if count != self.active:
            first = self.source == "fresh"
            self.count["resizes"] += not first
            self.resized = self.clock.now - first * self.plan.regrow
        self.active = count
        self.want_grow = count < self.plan.nodes

    def _take(self, slot: int, node: Node) -> None:
        self.slots[slot] = node
        self._watch(node)

    def _watch(self, node: Node) -> None:
        known = node.marked or node.slow_timer.due is not None
        if node.slow and self.plan.slow_detect < NEVER and not known:
            node.slow_timer.set(self.clock.now + self.plan.slow_detect)

    def _try_start(self) -> None:
        plan = self.plan
        self._settle(self.clock.now)
        count = self._possible()
        if not count:
            if self.phase != "waiting":
                up = sum(node.up for node in self.nodes)
                self._note("waiting", up, SOURCES.index(self.source))
            self.phase = "waiting"
            self.job.clear()
            return
        self._assign(count)
        source = SOURCES.index(self.source)
        if self.source == "fresh":
            self._resume()
        elif self.source == "live":
            self._note("resharding", count, source)
            self._enter("reshard", plan.detect + plan.reshard)
        else:
            load = {"memory": plan.load_memory, "storage": plan.load_storage}.get(self.source, 0)
            self._note("restarting", count, source)
            self._enter("restart", plan.detect + plan.restart + load)

    def _resume(self) -> None:
        self.holders = {node: slot for slot, node in self.slots.items()}
        self.held_slots = self.active
        if f"from_{self.source}" in self.count:
            self.count[f"from_{self.source}"] += 1
        self._note("running", self.active, SOURCES.index(self.source))
        self.source = "running"
        self._adapt()
        self._start_step()

    def _groups_live(self) -> bool:
        size, held = self.plan.copies, set(self.holders.values())
        groups = max(1, self.held_slots // size)
        of_slot = [min(slot // size, groups - 1) for slot in range(self.held_slots)]
        return self.held_slots > 0 and {of_slot[slot] for slot in held} == set(of_slot)

    def _interrupt(self) -> None:
        trained = self.phase in ("step", "checkpoint")
        self.count["interruptions"] += trained
        self._settle(self.clock.now)
        self.phase = "restart"
        self._stop_copies()
        alive = self._groups_live()
        if (
            self.plan.elastic == 2
            and alive
            and (trained or self.source in ("live", "swap", "grow"))
        ):
            self.source = "live"
        else:
            if not (self.plan.memory and alive):
                self.versions.pop("memory", None)
            self.source = next((s for s in ("memory", "storage") if s in self.versions), "start")
            self.work = 0
            before = self.done
            self.done = self.versions.get(self.source, Version())
            lost = sum(
                getattr(before, name) - getattr(self.done, name)
                for name in ("useful", "shrunk", "straggling")
            )
            self.part["lost"] += lost
            self._note("lost", self.done.steps, lost)
        self._try_start()

    def _stop_copies(self) -> None:
        self.copy.clear()
        self.flush.clear()
        self.copy_end = self.flush_end = -1

    def _grow(self) -> bool:
        plan = self.plan
        early = self.clock.now - self.resized < plan.regrow
        if not self.want_grow or plan.elastic == 0 or early:
            return False
        self.want_grow = False
        count = self._possible()
        if count <= self.active:
            return False
        self._assign(count)
        self.source = "grow"
        if plan.elastic == 2:
            self._note("resharding", count, SOURCES.index("grow"))
            self._enter("reshard", plan.reshard)
            return True
        self._stop_copies()
        self.versions.pop("memory", None)
        self.versions["storage"] = self.done
        self.work = 0
        self._note("restarting", count, SOURCES.index("grow"))
        self._enter("restart", plan.write + plan.restart + plan.load_storage)
        return True

    # -- nodes ---------------------------------------------------------------------------------

    def _node(self, number: int) -> Node:
        node = Node(number, self.clock, up=not self.plan.traced)
        node.timer = Timer(self.clock, NODE, number, lambda: self._node_event(node))
        node.slow_timer = Timer(self.clock, SLOW, number, lambda: self._slow_event(node))
        return node

    def _slot(self, node: Node) -> int:
        return next((slot for slot, one in self.slots.items() if one is node), -1)

    def _count_up(self, now: int) -> None:
        self.up_ticks += sum(node.up for node in self.nodes) * (now - self.up_since)
        self.up_since = now

    def _lose(self, node: Node) -> bool:
        self._count_up(self.clock.now)
        node.up = node.slow = node.marked = False
        node.slow_timer.clear()
        self.holders.pop(node, None)
        slot = self._slot(node)
        self.slots.pop(slot, None)
        return slot >= 0

    def _bring_up(self, node: Node) -> None:
        self._count_up(self.clock.now)
        node.up = True
        self._note("up", node.number, sum(one.up for one in self.nodes))
        self._set_life(node)
        if self.phase == "waiting":
            self._try_start()
        else:
            self.want_grow = self.active < self.plan.nodes
            self.want_swap = True

    def _repair(self, node: Node) -> None:
        ticks = int(self.plan.repair_mean)
        if self.plan.repair_drawn:
            draw = self._exponential(node.number, node.lives * DRAWS + DRAW_REPAIR)
            ticks = int(self.plan.repair_mean * draw)
        node.timer.set(self.clock.now + ticks)
        node.lives += 1

    def _fail(self, node: Node) -> bool:
        self.count["failures"] += 1
        self._note("failed", node.number, self._slot(node))
        had = self._lose(node)
        self._repair(node)
        return had

    def _node_event(self, node: Node) -> None:
        if not node.up:
            self._bring_up(node)
            return
        kind = uniforms(self.plan.seed, FAILURES, node.number, node.lives * DRAWS + DRAW_KIND)
        if kind < self.plan.soft_share:
            self.count["crashes"] += 1
            self._note("crashed", node.number, self._slot(node))
            node.lives += 1
            node.timer.set(self.clock.now + self._life(node))
            if self._slot(node) >= 0:
                self._interrupt()
        elif self._fail(node):
            self._interrupt()

    def _rack(self, rack: int) -> None:
        size = self.plan.rack_nodes
        members = [node for node in self.nodes[rack * size : (rack + 1) * size] if node.up]
        had = [self._fail(node) for node in members]
        self.rack_lives[rack] += 1
        self._set_rack(rack)
        if any(had):
            self._interrupt()

    def _slow_event(self, node: Node) -> None:
        if node.slow:
            node.marked = self.want_swap = True
            self._note("detected", node.number, self._slot(node))
            return
        node.slow = True
        self._note("slow", node.number, self._slot(node))
        if self._slot(node) >= 0:
            self._watch(node)

    def _replace_slow(self) -> bool:
        if not self.want_swap or self.plan.slow_mean <= 0:
            return False
        self.want_swap = False
        known = [slot for slot in range(self.active) if self.slots[slot].marked]
        well = [one for one in self.nodes
                if one.up and not one.marked and one not in self.slots.values()]  # fmt: skip
        for slot, fresh in zip(known, well, strict=False):
            node = self.slots[slot]
            self._note("replaced", node.number, fresh.number)
            self._lose(node)
            self._repair(node)
            self._take(slot, fresh)
            self.count["replaced"] += 1
        if not known or not well:
            return False
        self.source = "swap"
        self._note("resharding", self.active, SOURCES.index("swap"))
        self._enter("reshard", self.plan.swap)
        return True

    def _trace(self) -> None:
        row = self.trace_next
        self.trace_next += 1
        if self.trace_next < len(self.plan.trace_time):
            self.trace.set(int(self.plan.trace_time[self.trace_next]))
        node = self.nodes[self.plan.trace_node[row]]
        if self.plan.trace_up[row] and not node.up:
            self._bring_up(node)
        elif not self.plan.trace_up[row] and node.up:
            self._note("removed", node.number, self._slot(node))
            if self._lose(node):
                self._interrupt()

    def _note(self, kind: str, entity: int, value: int) -> None:
        row = (self.clock.now, EVENT_NAMES.index(kind), int(entity), int(value))
        self.log.append(row)
