"""What do partial rollouts and bounded staleness buy when a few answers are very long?

Paper: Zhou et al., "APRIL: Active Partial Rollouts in Reinforcement Learning to Tame Long-tail
Generation", arXiv 2509.18521, and Han et al., "AsyncFlow: An Asynchronous Streaming RL Framework
for Efficient LLM Post-Training", arXiv 2507.01663 (2025): abstracts.

Theirs: APRIL asks for more rollouts than a batch needs, stops when the batch is full, and goes on
with the unfinished ones in the next step; rollouts 22.5 % faster on average, at most 44 %, where
they take over 90 % of the time. AsyncFlow separates rollout from training, streams between them and
defers the parameters' update within a staleness threshold: 1.59 times the throughput on average.
Ours: Llama-3.1-8B on 16 H100s (decoding and training timed by our models), batches of 1,024 answers
of lognormal length (median 2,000 tokens, at most 16,384), and the rules: a rollout may begin while
fewer than staleness + 1 batches are begun and not trained on (the rule by counts), and a batch
is made of the answers that end first, or of those that began first.

What we find:
- With 64 answers of a GPU and all of them waited for, rollouts take 85 % of the time, and a GPU
  makes a third of the tokens a second that it makes with twice as many under way. Half a batch
  more asked for makes rollouts 2.65 times as fast, a tenth 1.8.
- So APRIL's 1.225 (and 1.44 at most) is little beside what long tails allow. It is what remains
  where a GPU has many answers to make: the gain is 3.9 with 16 answers of a GPU, 2.7 with 64, 1.5
  with 256 and 1.14 with 1,024, which keep it busy until the longest are nearly through.
- Its price is staleness without a bound: with half a batch more 53 % of the tokens come from
  older weights, and some answers are five steps late; with a batch more 68 % and eight.
- Two pools with a bound of 0 lose (0.90): each waits for the other. One version suffices for all
  there is to gain, 2.5, if a batch takes what ends first; but 20 % of its answers are later than
  that, up to six versions, as a bound by counts does not hold what is long. Higher bounds change
  nothing but the queue of the rollouts.
- To keep the bound a batch has to be made of what began first, and then 1 buys 1.3, 2 buys 1.8, 4
  2.3 and 8 all. AsyncFlow's 1.59 lies between 1 and 2.

Limits: answers of one prompt are not kept together, as GRPO needs; rewards take no time. Weights
reach the rollout at once, and only new rollouts use them. A continued rollout has its cache made
again. Memory bounds the rollouts of a GPU by their number, 112. What staleness does to learning is
not modelled, only how much there is of it.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.training.plan import TrainingBatch, TrainingPlan
from mltwin.models.training.step import training_step
from mltwin.plots import COLOURS, FAINT, new_figure, number_axis, share_axis
from mltwin.sim.rng_arrays import LENGTHS, normals
from mltwin.text import Table
from studies._common import Options, main, publish
from studies._rollout_pool import GPU, MODEL, PROMPT, SLOTS, Pool, Rollout, decoding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GPUS = 16
BATCH, CHUNKS = 1024, 8  # answers of an update; parts in which the trainer takes them
MEDIAN, SPREAD, LONGEST = 2_000, 1.0, 16_384  # tokens of an answer
SPREADS = [0.25, 0.5, 1.0, 1.5]  # standard deviation of the logarithm of an answer's length
EXTRA = [0.0, 0.1, 0.25, 0.5, 1.0, 2.0]  # rollouts asked for beyond a batch, as a part of it
STALENESS = [0, 1, 2, 4, 8]
ROLLOUT_GPUS = [6, 8, 10, 12]
CLAIMED = {"april": 1.225, "april_most": 1.44, "asyncflow": 1.59}


@cache
def training_tokens_per_s() -> float:
    """Tokens a second and GPU that training takes in."""
    plan = TrainingPlan(dp=GPUS, zero=3, recompute="full", microbatches=8)
    return training_step(MODEL, plan, TrainingBatch(2, 4096), GPU).tokens_per_s_per_gpu


def answers(count: int, spread: float, seed: int) -> list[Rollout]:
    """Rollouts in the order of their prompts."""
    drawn = MEDIAN * np.exp(spread * normals(seed, LENGTHS, np.arange(count)))
    lengths = np.clip(np.rint(drawn), 16, LONGEST).astype(int)
    return [Rollout(i, n) for i, n in enumerate(lengths.tolist())]


def in_steps(
    spread: float, extra: float, steps: int, seed: int, batch: int = BATCH
) -> dict[str, float]:
    """All GPUs roll out until a batch is full, then all train: with `extra` rollouts, APRIL.

    The first third of the steps does not count: unfinished rollouts have to gather first.
    """
    asked = int(batch * (1 + extra))
    fresh = iter(answers(batch * steps + asked, spread, seed))
    kept: list[Rollout] = []
    clock = rolling = began = 0.0
    tokens = made = old = 0
    spans: list[int] = []
    for step in range(steps):
        if step == steps // 3:
            began, rolling, tokens, made, old, spans = clock, 0.0, 0, 0, 0, []
        pool = Pool.of(GPUS, clock)
        todo = kept + [next(fresh) for _ in range(asked - len(kept))]
        before = {rollout.number: rollout.made for rollout in todo}
        pool.ask(todo, clock)
        done: list[Rollout] = []
        while len(done) < batch:
            moment = pool.next_end()
            done.append(pool.end())
        kept = pool.stop(moment)
        made += sum(r.made - before[r.number] for r in (*done, *kept))
        old += sum(before[r.number] for r in done)
        spans += [r.steps for r in done]
        for rollout in kept:
            rollout.steps += rollout.made > 0
        rolling += moment - clock
        taken = sum(r.tokens for r in done)
        tokens += taken
        clock = moment + (taken + PROMPT * batch) / (training_tokens_per_s() * GPUS)
    return {
        "rollout_tokens_per_s": made / rolling,
        "tokens_per_s": tokens / (clock - began),
        "rollout_share": rolling / (clock - began),
        "continued": float(np.mean(np.array(spans) > 1)),
        "late_mean": float(np.mean(spans)) - 1,
        "late_most": float(np.max(spans)) - 1,
        "old_tokens": old / tokens,
    }


@dataclass
class Trainer:
    """GPUs that train; takes a batch in chunks, as soon as there are enough answers."""

    gpus: int
    in_order: bool
    busy_until: float = 0.0
    version: int = 0
    chunks: int = 0
    busy: float = 0.0
    ready: list[tuple[int, int, Rollout]] = field(default_factory=list)
    ages: list[int] = field(default_factory=list)
    tokens: int = 0
    there: set[int] = field(default_factory=set)
    unbroken: int = 0  # answers before the first that is missing

    def offer(self, rollout: Rollout, place: int) -> None:
        """Take an answer in: in the order of prompts, or in that of their ends."""
        heapq.heappush(self.ready, (rollout.number if self.in_order else place, place, rollout))
        self.there.add(rollout.number)

    def can_start(self, moment: float) -> bool:
        """Whether it is idle and has a chunk: with `in_order`, all of the answers it needs."""
        size = BATCH // CHUNKS
        if moment < self.busy_until or len(self.ready) < size:
            return False
        if not self.in_order:
            return True
        while self.unbroken in self.there:
            self.unbroken += 1
        return self.unbroken >= (self.version * CHUNKS + self.chunks + 1) * size

    def start(self, moment: float) -> None:
        """Train on a chunk."""
        taken = [heapq.heappop(self.ready)[2] for _ in range(BATCH // CHUNKS)]
        tokens = sum(r.tokens for r in taken)
        self.ages += [self.version - r.version for r in taken]
        took = (tokens + PROMPT * len(taken)) / (training_tokens_per_s() * self.gpus)
        self.busy_until, self.busy = moment + took, self.busy + took
        self.tokens += tokens

    def finish(self) -> bool:
        """The chunk is trained on; whether it was the last of its batch."""
        self.chunks = (self.chunks + 1) % CHUNKS
        self.version += self.chunks == 0
        return self.chunks == 0


def apart(
    spread: float, staleness: int, rollout_gpus: int, steps: int, seed: int, in_order: bool
) -> dict[str, float]:
    """Some GPUs roll out, the others train, and neither waits but for the bound of staleness."""
    prompts = answers(BATCH * (steps + staleness + 2), spread, seed)
    pool, trainer = Pool.of(rollout_gpus), Trainer(GPUS - rollout_gpus, in_order)
    begun = ended = 0
    clock = began = counted = 0.0
    training = False

    def begin_allowed() -> None:
        nonlocal begun
        allowed = min((trainer.version + staleness + 1) * BATCH, len(prompts))
        fresh = prompts[begun:allowed]
        begun = allowed
        pool.version = trainer.version
        pool.ask(fresh, clock)

    begin_allowed()
    while trainer.version < steps:
        done_at = trainer.busy_until if training else np.inf
        clock = min(done_at, pool.next_end())
        if done_at <= clock:
            training = False
            if trainer.finish():
                begin_allowed()
                if trainer.version == steps // 3:
                    began, counted = clock, float(trainer.tokens)
                    trainer.ages, trainer.busy = [], 0.0
        else:
            trainer.offer(pool.end(), ended)
            ended += 1
        if not training and trainer.version < steps and trainer.can_start(clock):
            trainer.start(clock)
            training = True
    ages = np.array(trainer.ages)
    return {
        "tokens_per_s": (trainer.tokens - counted) / (clock - began),
        "trainer_busy": trainer.busy / (clock - began),
        "late_mean": float(ages.mean()),
        "late_most": float(ages.max()),
        "beyond": float((ages > staleness).mean()),
    }


def averaged(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of runs with different answers."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def partial_rollouts(options: Options) -> dict[str, Any]:
    """APRIL by how much more is asked for, by the spread of lengths, and by answers of a GPU."""
    seeds = range(1 if options.quick else 4)
    steps = 9 if options.quick else 45
    spreads, extra = (SPREADS[1:3], EXTRA[::3]) if options.quick else (SPREADS, EXTRA)
    by_spread = {
        f"{spread:g}": {
            f"{e:g}": averaged([in_steps(spread, e, steps, seed) for seed in seeds]) for e in extra
        }
        for spread in spreads
    }
    sizes = [16, 64, 256] if options.quick else [16, 64, 256, 1024]
    fewer = steps // 3
    by_size = {
        str(size): [
            averaged([in_steps(SPREAD, e, fewer, s, size * GPUS) for s in seeds]) for e in (0, 0.5)
        ]
        for size in sizes
    }
    return {"by_spread": by_spread, "by_size": by_size}


def bounded(options: Options) -> dict[str, Any]:
    """Rollout and training apart, by bound and rule, each with its best split of the GPUs."""
    seeds = range(1 if options.quick else 4)
    steps = 9 if options.quick else 24
    found: dict[str, Any] = {}
    for rule, in_order in (("ends first", False), ("began first", True)):
        found[rule] = {}
        for bound in STALENESS[:4:3] + STALENESS[1:2] if options.quick else STALENESS:
            splits = {
                gpus: averaged([apart(SPREAD, bound, gpus, steps, s, in_order) for s in seeds])
                for gpus in (ROLLOUT_GPUS[2:3] if options.quick else ROLLOUT_GPUS)
            }
            gpus = max(splits, key=lambda g: splits[g]["tokens_per_s"])
            found[rule][str(bound)] = {**splits[gpus], "rollout_gpus": gpus}
    return found


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    figures: dict[str, Any] = {
        **partial_rollouts(options),
        "bounded": bounded(options),
        "training_tokens_per_s": training_tokens_per_s(),
        "iteration_ms": {str(b): 1e3 * float(decoding()[0][b]) for b in (1, 64, SLOTS)},
    }
    figures["together"] = figures["by_spread"][f"{SPREAD:g}"]["0"]["tokens_per_s"]
    tables = {
        "partial": partial_table(figures),
        "sizes": size_table(figures),
        "staleness": staleness_table(figures),
    }
    publish(options, "rollouts", picture(figures), tables, figures)
    return figures


def gain(rows: Mapping[str, Mapping[str, float]], extra: str, what: str) -> float:
    """Over the same without more than a batch asked for."""
    return rows[extra][what] / rows["0"][what]


def partial_table(figures: Mapping[str, Any]) -> Table:
    """APRIL by spread and by how much more is asked for."""
    rows: list[list[Any]] = []
    for spread, by_extra in figures["by_spread"].items():
        for extra, one in by_extra.items():
            rows.append(
                [
                    spread, f"{float(extra):.0%}", one["rollout_tokens_per_s"],
                    f"{gain(by_extra, extra, 'rollout_tokens_per_s'):.2f}",
                    f"{gain(by_extra, extra, 'tokens_per_s'):.2f}", f"{one['rollout_share']:.0%}",
                    f"{one['old_tokens']:.0%}", f"{one['late_mean']:.2f}",
                    f"{one['late_most']:.0f}",
                ]
            )  # fmt: skip
    heads = ["spread", "more asked", "rollout tokens/s", "gain", "gain with training"]
    heads += ["rollout's share", "old tokens", "steps late", "at most"]
    caption = (
        f"{BATCH:,} answers a step on {GPUS} GPUs that roll out and train in turn. Old tokens: "
        "made with weights before those of the step that an answer ended in."
    )
    return Table(heads, rows, caption=caption)


def size_table(figures: Mapping[str, Any]) -> Table:
    """APRIL by the number of answers of a GPU."""
    rows: list[list[Any]] = [
        [
            size, one["rollout_tokens_per_s"], f"{one['rollout_share']:.0%}",
            f"{more['rollout_tokens_per_s'] / one['rollout_tokens_per_s']:.2f}",
            f"{more['late_most']:.0f}",
        ]
        for size, (one, more) in figures["by_size"].items()
    ]  # fmt: skip
    heads = [
        "answers of a GPU",
        "rollout tokens/s",
        "rollout's share",
        "gain",
        "steps late at most",
    ]
    caption = (
        f"Half a batch more asked for; spread {SPREAD:g}, {SLOTS} rollouts of a GPU at a time."
    )
    return Table(heads, rows, caption=caption)


def staleness_table(figures: Mapping[str, Any]) -> Table:
    """Throughput by the bound."""
    rows: list[list[Any]] = [
        [
            rule, bound, one["rollout_gpus"], one["tokens_per_s"],
            f"{one['tokens_per_s'] / figures['together']:.2f}", f"{one['trainer_busy']:.0%}",
            f"{one['late_mean']:.2f}", f"{one['late_most']:.0f}", f"{one['beyond']:.0%}",
        ]
        for rule, by_bound in figures["bounded"].items()
        for bound, one in by_bound.items()
    ]  # fmt: skip
    heads = ["a batch takes what", "bound", "GPUs that roll out", "tokens/s", "over in turn"]
    heads += ["training busy", "versions late", "at most", "beyond the bound"]
    caption = (
        f"{GPUS} GPUs, the best split of them; over in turn: against all of them rolling out and "
        "training in turn, without more asked for."
    )
    return Table(heads, rows, caption=caption)


def picture(figures: Mapping[str, Any]) -> "Figure":
    """Partial rollouts by spread and size, throughput by the bound."""
    with new_figure(1, 3, (11.5, 3.8), "Rollouts with long tails") as (figure, axes):
        left, middle, right = axes[0]
        for colour, (spread, rows) in zip(COLOURS, figures["by_spread"].items(), strict=False):
            gains = [gain(rows, extra, "rollout_tokens_per_s") for extra in rows]
            left.plot([float(e) for e in rows], gains, "o-", ms=3, color=colour, label=spread)
        left.legend(title="spread of lengths", fontsize=7, title_fontsize=7)
        left.set_xlabel("rollouts asked for beyond a batch")
        left.set_ylabel("rollout speed over waiting for all")
        left.set_title("Partial rollouts, 64 answers of a GPU")
        share_axis(left, "x")
        sizes = [int(size) for size in figures["by_size"]]
        gains = [
            b["rollout_tokens_per_s"] / a["rollout_tokens_per_s"]
            for a, b in figures["by_size"].values()
        ]
        middle.plot(sizes, gains, "o-", ms=3, color=COLOURS[0], label="half a batch more")
        span = (1, CLAIMED["april_most"])
        middle.axhspan(*span, color=FAINT, alpha=0.25, label="APRIL, claimed: up to 1.44")
        number_axis(middle)
        middle.set_xlabel("answers of a GPU in a batch")
        middle.set_ylabel("rollout speed over waiting for all")
        middle.set_title("Partial rollouts by batch")
        for colour, (rule, rows) in zip(COLOURS, figures["bounded"].items(), strict=False):
            bounds = sorted(rows, key=int)
            rate = [rows[b]["tokens_per_s"] / figures["together"] for b in bounds]
            label = f"a batch takes what {rule}"
            right.plot([int(b) for b in bounds], rate, "o-", ms=3, color=colour, label=label)
            for b, y in zip(bounds, rate, strict=True):
                right.annotate(
                    f"{rows[b]['late_most']:.0f}",
                    (int(b), y),
                    (2, 4 if rule == "ends first" else -10),
                    textcoords="offset points",
                    fontsize=7,
                    color=colour,
                )
        right.axhline(
            CLAIMED["asyncflow"], color=FAINT, linestyle=":", label="AsyncFlow, claimed: 1.59"
        )
        right.set_xlabel("bound of staleness, versions")
        right.set_ylabel("throughput over in turn")
        right.set_title("Rollout and training apart\n(at a point: the greatest staleness)")
        for panel in (middle, right):
            panel.legend(fontsize=7)
        for panel in axes[0]:
            panel.set_ylim(0)
    return figure


if __name__ == "__main__":
    main(study, __doc__)
