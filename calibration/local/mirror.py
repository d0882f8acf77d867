"""The twin of the engine's scheduler: what each step computes, decided by the engine's rules.

OpenVINO GenAI's ``ContinuousBatchingPipeline`` with ``dynamic_split_fuse`` (its ``scheduler.hpp``;
the rules were first observed, then compared with that file):

1. Decoding requests first, in order of arrival, one token each. A pre-empted request that was
   decoding counts as one: it computes again, without output, what it has lost (as much as the
   budget allows), and only then its next token.
2. The rest of ``budget`` tokens goes to prompts, first come, first served, the last one in part;
   also where blocks are short.
3. A decoding request that lacks blocks takes them from the newest request that holds any and is
   newer than itself: as many as are needed from its tail, or all where it has no more than that.
   The loser is left out of this step. If nothing newer is left, the request itself waits.
4. A step that can schedule nothing ends all its requests as ignored.
5. ``max_num_seqs`` is not looked at.

With prefix caching a prompt is looked up once, when it is added.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .blocks import BLOCK_TOKENS, BlockPool, Group, PrefixPool


@dataclass(frozen=True)
class Rules:
    """How an engine was set up: token budget of a step, KV blocks, prefix caching."""

    budget: int = 256
    blocks: int = 2048
    block_tokens: int = BLOCK_TOKENS
    prefix_caching: bool = False


@dataclass
class Step:
    """One step as planned.

    Attributes:
        emitted: requests that get a token, in order; finished: those for which it is the last.
        ignored: requests that are given up because nothing fits.
        decodes: decoding requests of one token; prefill: prompt tokens, recomputed ones among them.
        context: sum over the decoding requests of tokens attended, the new one among them.
        pairs: causal (query, key) pairs of the prefill.
        sequences: requests that get tokens; used: blocks in use; preempted: requests that lost any.
    """

    emitted: list[int] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    ignored: list[int] = field(default_factory=list)
    decodes: int = 0
    prefill: int = 0
    context: int = 0
    pairs: int = 0
    sequences: int = 0
    used: int = 0
    preempted: list[int] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens computed."""
        return self.prefill + self.decodes


class Mirror:
    """A scheduler to which requests are added and that plans step by step."""

    def __init__(self, rules: Rules) -> None:
        kind = PrefixPool if rules.prefix_caching else BlockPool
        self.rules = rules
        self.pool: BlockPool = kind(rules.blocks, rules.block_tokens)
        self.groups: list[Group] = []

    def add(
        self, request: int, prompt: int, output: int, tokens: Sequence[int] | None = None
    ) -> None:
        """Add a request of so many tokens; ``tokens``: ids of both, with prefix caching."""
        group = Group(request, prompt, output, tokens)
        self.pool.restore(group)
        self.groups.append(group)

    def step(self) -> Step:
        """Plan a step and carry it out."""
        step = Step()
        for group in self.groups:
            self.pool.trim(group)
        planned = self._decode(step)
        if step.tokens < self.rules.budget:
            planned += self._prefill(step)
        for group in self.groups:
            group.waiting = False
        step.sequences = len(planned)
        step.used = self.pool.total - self.pool.free
        if step.tokens == 0:
            step.ignored = [group.request for group in self.groups]
            self._drop(self.groups)
        else:
            self._commit(planned, step)
        return step

    def _decode(self, step: Step) -> list[Group]:
        planned = []
        for index, group in enumerate(self.groups):
            if group.longest < group.prompt or group.waiting:
                continue
            left = self.rules.budget - step.tokens
            if left == 0:
                break
            group.scheduled = min(left, max(group.longest - group.processed, 1))
            self._preempt_for(index, step)
            if self.pool.needed(group) > self.pool.free:
                group.scheduled = 0
                continue
            self.pool.append(group)
            planned.append(group)
            self._count(group, step)
        return planned

    def _prefill(self, step: Step) -> list[Group]:
        planned = []
        for group in self.groups:
            if group.longest >= group.prompt or group.waiting:
                continue
            left = self.rules.budget - step.tokens
            if left == 0:
                break
            wanted = min(left, max(group.prompt, group.longest) - group.processed)
            wanted = min(max(wanted, 1), self.pool.slots(group))
            if wanted > 0:
                beyond = wanted - -group.context % self.rules.block_tokens
                if beyond > 0:
                    self.pool.allocate(group, -(-beyond // self.rules.block_tokens))
                group.scheduled = wanted
                planned.append(group)
                self._count(group, step)
        return planned

    def _preempt_for(self, index: int, step: Step) -> None:
        target = self.groups[index]
        while self.pool.needed(target) > self.pool.free:
            newer = reversed(self.groups[index + 1 :])
            victim = next((group for group in newer if group.processed > 0), None)
            if victim is None:
                return
            if not self._take_from(victim, self.pool.needed(target)):
                return
            step.preempted.append(victim.request)

    def _take_from(self, victim: Group, needed: int) -> bool:
        """Free blocks of a request that then waits; whether any became free."""
        free = self.pool.free
        if victim.held <= needed:
            self.pool.release(victim)
            victim.processed = 0
        else:
            last = victim.processed % self.rules.block_tokens or self.rules.block_tokens
            self.pool.release(victim, needed)
            victim.processed -= last + (needed - 1) * self.rules.block_tokens
        victim.waiting = True
        return self.pool.free > free

    def _count(self, group: Group, step: Step) -> None:
        """Add what a request computes to the step."""
        tokens, before = group.scheduled, group.processed
        if group.longest >= group.prompt and tokens == 1 and before == group.longest:
            step.decodes += 1
            step.context += before + 1
        else:
            step.prefill += tokens
            step.pairs += tokens * before + tokens * (tokens + 1) // 2

    def _commit(self, planned: Iterable[Group], step: Step) -> None:
        gone = []
        for group in planned:
            emits = group.context >= group.prompt and group.context > group.longest
            group.processed = group.context
            group.longest = max(group.longest, group.processed)
            group.scheduled = 0
            if emits:
                group.generated += 1
                step.emitted.append(group.request)
                if group.generated == group.output:
                    step.finished.append(group.request)
                    gone.append(group)
        self._drop(gone)

    def _drop(self, gone: Sequence[Group]) -> None:
        ended = {group.request for group in gone}
        for group in self.groups:  # in order of arrival, as the engine frees them
            if group.request in ended and group.held:
                self.pool.release(group)
        self.groups = [group for group in self.groups if group.request not in ended]
