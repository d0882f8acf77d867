"""KV blocks of the engine: a plain pool that counts, and one that finds prefixes again.

Both follow OpenVINO GenAI 2026's ``block_manager.hpp`` (class names in the comments are its own).
The plain pool needs numbers only. With prefix caching the identity of a block matters: which
content it is known by, who shares it, and which one is overwritten first.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

BLOCK_TOKENS = 32


@dataclass(eq=False)
class Group:
    """One request in the engine (its ``SequenceGroup`` of a single sequence).

    Attributes:
        request: id.
        prompt, output: tokens of it; it ends with the last one.
        tokens: ids of prompt and output in order; needed with prefix caching only.
        processed: tokens whose KV is in the cache; scheduled: tokens of the step in the making.
        longest: most tokens ever processed; generated: tokens emitted.
        waiting: pre-empted in this step.
        blocks: ids of blocks held (prefix caching), in order.
        held: number of blocks held.
    """

    request: int
    prompt: int
    output: int
    tokens: Sequence[int] | None = None
    processed: int = 0
    scheduled: int = 0
    longest: int = 0
    generated: int = 0
    waiting: bool = False
    blocks: list[int] = field(default_factory=list)
    held: int = 0
    full_keys: list[int] = field(default_factory=list)

    @property
    def context(self) -> int:
        """Tokens processed once this step has run."""
        return self.processed + self.scheduled


class BlockPool:
    """Blocks without prefix caching: only their number matters."""

    def __init__(self, blocks: int, block_tokens: int = BLOCK_TOKENS) -> None:
        self.total = blocks
        self.block_tokens = block_tokens
        self._free = blocks

    @property
    def free(self) -> int:
        """Blocks that can be taken."""
        return self._free

    def logical(self, group: Group) -> int:
        """Blocks that hold the group's context."""
        return -(-group.context // self.block_tokens)

    def needed(self, group: Group) -> int:
        """Blocks that a decoding group lacks for the tokens scheduled."""
        return max(0, self.logical(group) - group.held)

    def slots(self, group: Group) -> int:
        """Tokens that a prompt could still place."""
        return -group.context % self.block_tokens + self.free * self.block_tokens

    def allocate(self, group: Group, count: int) -> None:
        """Give the group so many blocks more."""
        self._free -= count
        group.held += count

    def append(self, group: Group) -> None:
        """Give a decoding group what it needs."""
        self.allocate(group, self.needed(group))

    def release(self, group: Group, count: int | None = None) -> None:
        """Take the last ``count`` blocks back (None: all)."""
        count = group.held if count is None else count
        self._free += count
        group.held -= count

    def trim(self, group: Group) -> None:
        """Take back blocks beyond the context (``free_empty_physical_blocks``)."""
        surplus = group.held - self.logical(group)
        if self.logical(group) and surplus > 0:
            self.release(group, surplus)

    def restore(self, group: Group) -> None:
        """Find the group's prompt in the cache, when it is added; here there is none."""


class PrefixPool(BlockPool):
    """Blocks with prefix caching: known by the content up to their last token.

    A block without owner stays in the store under its content until it is overwritten. The order
    of overwriting is by time stamp, and an engine's block is stamped when it is made, found again
    or overwritten, not when it is freed.
    """

    def __init__(self, blocks: int, block_tokens: int = BLOCK_TOKENS) -> None:
        super().__init__(blocks, block_tokens)
        self._unused = deque(range(blocks))  # m_free_blocks
        self._stamp = list(range(blocks))
        self._now = blocks
        self._owners = [0] * blocks
        self._key: list[Hashable] = [None] * blocks
        self._stored: dict[Hashable, int] = {}  # m_overwriteable_blocks
        self._known: dict[Hashable, int] = {}  # m_prefix_hash_to_occupied_block_map

    @property
    def free(self) -> int:
        """Blocks that can be taken: never used, or without owner."""
        return len(self._unused) + len(self._stored)

    def needed(self, group: Group) -> int:
        """Blocks that a decoding group lacks, copies of a shared last block among them."""
        logical = self.logical(group)
        if not group.blocks:
            return logical
        if group.held > logical:
            return 0
        lacking, owners = logical - group.held, self._owners[group.blocks[-1]]
        if owners > 1:
            return lacking * owners if lacking else owners - 1
        return lacking

    def allocate(self, group: Group, count: int) -> None:
        """Give the group so many blocks more, known by what they will hold."""
        if group.blocks:
            self._rename(group.blocks[-1], self._content(group, group.held * self.block_tokens))
        known = group.prompt + group.generated
        for index in range(group.held + 1, group.held + count + 1):
            length = min(index * self.block_tokens, known)
            group.blocks.append(self._take(self._content(group, length)))
        group.held = len(group.blocks)

    def append(self, group: Group) -> None:
        """Give a decoding group what it needs; a shared last block is copied first."""
        lacking = self.logical(group) - group.held
        if lacking > 0:
            self.allocate(group, lacking)
            return
        last, key = group.blocks[-1], self._content(group, group.context)
        if self._owners[last] > 1:
            group.blocks[-1] = self._take(key)
            self._give(last)
        else:
            self._rename(last, key, always=True)

    def release(self, group: Group, count: int | None = None) -> None:
        """Take the last ``count`` blocks back, tail first; None: all, head first."""
        if count is None:
            gone, group.blocks = group.blocks, []
        else:
            keep = group.held - count
            gone, group.blocks = group.blocks[keep:][::-1], group.blocks[:keep]
        for block in gone:
            self._give(block)
        group.held = len(group.blocks)

    def restore(self, group: Group) -> None:
        """Find the longest known prefix of the prompt: whole blocks, then part of one."""
        done = 0
        while done < group.prompt:
            length = min(done + self.block_tokens, group.prompt)
            block = self._find(self._content(group, length))
            if block is None:
                self._restore_part(group, done)
                return
            self._adopt(group, block, length)
            done = length

    def _restore_part(self, group: Group, done: int) -> None:
        for length in range(done + 1, min(done + self.block_tokens - 1, group.prompt) + 1):
            block = self._find(self._content(group, length))
            if block is not None:
                self._adopt(group, block, length)
                return

    def _adopt(self, group: Group, block: int, length: int) -> None:
        self._touch(block)
        group.blocks.append(block)
        group.held = len(group.blocks)
        # the last token of a prompt is always computed: the first output token comes of it
        group.processed = group.longest = length - 1 if length == group.prompt else length

    def _content(self, group: Group, length: int) -> int:
        """A number for the first ``length`` tokens of the group (``Sequence::get_hash``)."""
        assert group.tokens is not None, "prefix caching needs token ids"
        size, keys = self.block_tokens, group.full_keys
        while (len(keys) + 1) * size <= length:
            start = len(keys) * size
            before = keys[-1] if keys else 0
            keys.append(hash((before, *group.tokens[start : start + size])))
        if length % size == 0:
            return keys[length // size - 1]
        full = length // size
        return hash((keys[full - 1] if full else 0, *group.tokens[full * size : length]))

    def _touch(self, block: int) -> None:
        self._stamp[block] = self._now
        self._now += 1

    def _find(self, key: Hashable) -> int | None:
        block = self._stored.pop(key, None)
        if block is None:
            block = self._known.get(key)
            if block is None:
                return None
        self._owners[block] += 1
        return block

    def _take(self, key: Hashable) -> int:
        if self._unused:
            block = self._unused.popleft()
        else:
            block = min(self._stored.values(), key=self._stamp.__getitem__)
            old = self._key[block]
            del self._stored[old]
            self._known.pop(old, None)
            self._touch(block)
        self._owners[block] += 1
        self._key[block] = key
        self._known[key] = block
        return block

    def _rename(self, block: int, key: Hashable, *, always: bool = False) -> None:
        old = self._key[block]
        if old != key or always:
            self._key[block] = key
            self._known.pop(old, None)
            self._known[key] = block

    def _give(self, block: int) -> None:
        self._owners[block] -= 1
        if self._owners[block]:
            return
        key = self._key[block]
        twin = self._stored.pop(key, None)
        if twin is not None:  # two blocks of the same content: the older one is emptied
            self._unused.append(twin)
            if self._known.get(key) == twin:
                self._known[key] = block  # the header of that time forgets it; the wheel does not
        self._stored[key] = block
