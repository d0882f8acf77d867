"""Social graphs: friendships as a table of rows, drawn or read from a file of edges."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import SELECTION, integers, uniforms


@dataclass(frozen=True, eq=False)
class Graph:
    """Undirected friendships: user u's friends are `friend[start[u]:start[u + 1]]`, ascending.

    Attributes:
        start: int64[users + 1].
        friend: int64[2 E].
        names: of the users in a file; None for drawn ones.
    """

    start: np.ndarray
    friend: np.ndarray
    names: tuple[str, ...] | None = None

    @property
    def users(self) -> int:
        """How many."""
        return len(self.start) - 1

    @property
    def degree(self) -> np.ndarray:
        """int64[users], friends of each."""
        return np.diff(self.start)


def graph_of(users: int, a: np.ndarray, b: np.ndarray) -> Graph:
    """The graph of edges a-b: each counted once, in both directions, none to oneself."""
    other = a != b
    a, b = np.asarray(a, np.int64)[other], np.asarray(b, np.int64)[other]
    keys = np.unique(np.concatenate([a * users + b, b * users + a]))
    start = np.searchsorted(keys, np.arange(users + 1, dtype=np.int64) * users)
    return Graph(start.astype(np.int64), np.ascontiguousarray(keys % users))


def watts_strogatz(seed: int, users: int, degree: int, rewire: float) -> Graph:
    """A ring in which each user knows the `degree` next to him, each edge rewired with probability
    `rewire` to someone drawn (Watts and Strogatz, Nature 393, 1998). An odd degree is rounded down.
    """
    half = degree // 2
    linked = [set() for _ in range(users)]  # type: list[set[int]]
    edges = [(u, (u + j) % users) for j in range(1, half + 1) for u in range(users)]
    for u, v in edges:
        linked[u].add(v)
        linked[v].add(u)
    number = np.arange(len(edges))
    moved = uniforms(seed, SELECTION, number, 0) < rewire
    for i in np.flatnonzero(moved).tolist():
        u, v = edges[i]
        if len(linked[u]) >= users - 1:
            continue
        counter = 1
        while (w := int(integers(seed, SELECTION, i, users, counter))) == u or w in linked[u]:
            counter += 1
        linked[u].discard(v)
        linked[v].discard(u)
        linked[u].add(w)
        linked[w].add(u)
    return _of_sets(linked)


def barabasi_albert(seed: int, users: int, degree: int) -> Graph:
    """Users come one by one and befriend degree / 2 of those there, drawn in proportion to their
    friends (Barabasi and Albert, Science 286, 1999); the first ones all know each other."""
    m = max(1, degree // 2)
    linked = [set() for _ in range(users)]  # type: list[set[int]]
    ends: list[int] = []  # each user as often as he has friends
    for u in range(min(m + 1, users)):
        for v in range(u):
            linked[u].add(v)
            linked[v].add(u)
            ends += [u, v]
    for u in range(m + 1, users):
        counter = 0
        while len(linked[u]) < m:
            v = ends[int(integers(seed, SELECTION, u, len(ends), counter))]
            counter += 1
            linked[u].add(v)
        for v in sorted(linked[u]):
            linked[v].add(u)
            ends += [u, v]
    return _of_sets(linked)


def _of_sets(linked: list[set[int]]) -> Graph:
    sizes = [len(row) for row in linked]
    friend = [v for row in linked for v in sorted(row)]
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Graph(start, np.array(friend, np.int64))


def read_edges(path: str | Path) -> Graph:
    """A graph from a text file: two names a line, between commas, tabs or blanks; `#` comments.

    Users are numbered by first appearance.

    Raises InputError naming file and line.
    """
    place = str(path)
    number: dict[str, int] = {}
    a: list[int] = []
    b: list[int] = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError("no such file", where=place, mend="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise InputError(f"cannot be read: {reason}", where=place) from None
    for row, line in enumerate(lines, 1):
        text = line.partition("#")[0].replace(",", " ").split()
        if not text:
            continue
        if len(text) != 2:
            raise InputError(
                f"{line!r:.80} is not an edge", where=f"{place}, line {row}", mend="give two names"
            )
        for name, ends in zip(text, (a, b), strict=True):
            ends.append(number.setdefault(name, len(number)))
    if not number:
        raise InputError("has no edges", where=place)
    found = graph_of(len(number), np.array(a), np.array(b))
    return Graph(found.start, found.friend, tuple(number))
