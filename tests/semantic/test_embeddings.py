"""Drawn queries have the laws they are asked for; neighbours are those that brute force finds."""

import sys
import types

import numpy as np
import pytest

from mltwin.models.semantic.tables import ONE, Neighbours, Queries
from mltwin.sim.errors import InputError
from mltwin.workloads.embeddings import Cluster, draw_queries
from mltwin.workloads.embeddings_neighbours import find_neighbours, rounded

TWO = [
    Cluster("dense", 3.0, 40, 1.0, 0.93, 0.9, 0.6, verbatim=0.2),
    Cluster("wide", 1.0, 60, 0.0, 0.8, 0.6, 0.1, life_s=20.0),
]


def drawn(n: int = 1500, seed: int = 5, **options: int) -> Queries:
    return draw_queries(TWO, n, rate=10.0, dimensions=options.get("dimensions", 24), seed=seed)


def test_draws_are_keyed_by_query() -> None:
    short, long = drawn(300), drawn(900)
    for name in ("category", "arrival", "intent", "version", "embedding"):
        assert np.array_equal(getattr(short, name), getattr(long, name)[:300]), name
    assert drawn(300).sha256 == short.sha256 != drawn(300, seed=6).sha256


def test_shares_rate_and_length() -> None:
    queries = drawn(20_000, dimensions=2)
    assert (queries.category == 0).mean() == pytest.approx(0.75, abs=0.01)
    assert queries.arrival[-1] / 1e9 == pytest.approx(2000, rel=0.03)
    assert np.allclose(np.linalg.norm(queries.embedding, axis=1), 1, atol=1e-6)


def test_laws_of_repetition() -> None:
    queries = drawn(40_000, dimensions=2)
    power = np.bincount(queries.intent[queries.category == 0], minlength=40)
    harmonic = 1 / np.arange(1, 41)
    assert np.allclose(power / power.sum(), harmonic / harmonic.sum(), atol=0.008)
    even = np.bincount(queries.intent[queries.category == 1] - 40, minlength=60)
    assert even.min() > 0 and np.allclose(even / even.sum(), 1 / 60, atol=0.006)


def test_similarities_are_near_the_asked_for_means() -> None:
    queries = draw_queries(TWO, 3000, rate=1.0, dimensions=256, seed=2)
    for c, cluster in enumerate(TWO):
        mine = np.flatnonzero(queries.category == c)[:700]
        intent = queries.intent[mine] - (0 if c == 0 else 40)
        cosine = queries.embedding[mine] @ queries.embedding[mine].T
        apart = ~np.eye(len(mine), dtype=bool)
        same = (intent[:, None] == intent) & apart
        family = (intent[:, None] // 4 == intent // 4) & ~same & apart
        other = ~same & ~family & apart
        wording = 1 - (1 - cluster.verbatim) * (1 - cluster.paraphrase)  # verbatim ones are nearer
        assert cosine[same].mean() == pytest.approx(wording, abs=0.03)
        assert cosine[family].mean() == pytest.approx(wording * cluster.sibling, abs=0.05)
        assert cosine[other].mean() == pytest.approx(wording * cluster.base, abs=0.05)


def test_verbatim_queries_are_equal() -> None:
    queries = draw_queries([Cluster("a", intents=3, verbatim=1.0)], 50, rate=1.0, seed=1)
    assert len(np.unique(queries.embedding, axis=0)) == len(np.unique(queries.intent))


def test_content_changes_as_a_poisson_process() -> None:
    cluster = Cluster("a", intents=400, life_s=5.0)
    queries = draw_queries([cluster], 20_000, rate=200.0, dimensions=2, seed=1)
    late = queries.arrival > 50e9
    expected = queries.arrival[late] / 5e9
    assert (queries.version[late] / expected).mean() == pytest.approx(1, abs=0.03)
    for intent in range(20):
        assert np.all(np.diff(queries.version[queries.intent == intent]) >= 0)
    assert draw_queries([Cluster("a")], 10, rate=1.0).version.max() == 0


@pytest.mark.parametrize(
    ("cluster", "why"),
    [
        (Cluster("a", base=0.7, sibling=0.6), "not in order"),
        (Cluster("a", paraphrase=0.4), "not within 0.5 and 1"),
        (Cluster("a", life_s=1e-9), "changes more than 10,000 times"),
    ],
)
def test_what_cannot_be_drawn(cluster: Cluster, why: str) -> None:
    with pytest.raises(InputError, match=rf"categories\.a\.traffic.*{why}"):
        draw_queries([cluster], 50, rate=1.0)


def brute(queries: Queries, floor: int) -> list[list[tuple[int, int]]]:
    """Neighbours by integer arithmetic, one pair at a time."""
    whole = rounded(queries.embedding).astype(np.int64)
    found = []
    for q in range(len(queries)):
        mine = []
        for e in range(q):
            if queries.category[e] == queries.category[q]:
                dot = int(whole[q] @ whole[e])
                length = np.sqrt(float(int(whole[q] @ whole[q]) * int(whole[e] @ whole[e])))
                near = int(np.rint(dot * float(ONE) / length))
                if near >= floor:
                    mine.append((-near, e))
        found.append([(e, -near) for near, e in sorted(mine)])
    return found


def lists_of(near, n: int) -> list[list[tuple[int, int]]]:
    pairs = list(zip(near.row.tolist(), near.near.tolist(), strict=True))
    return [pairs[near.start[q] : near.start[q + 1]] for q in range(n)]


@pytest.mark.parametrize("floor", [0.9, 0.5, -1.0])
def test_neighbours_are_those_of_brute_force(floor: float) -> None:
    queries = drawn(260)
    near = find_neighbours(queries, floor=floor)
    assert lists_of(near, 260) == brute(queries, round(floor * ONE))
    assert not near.truncated.any()


def test_blocks_and_real_cosines() -> None:
    """More queries than a block holds; similarities against float64 without rounding."""
    queries = drawn(1400)
    near = find_neighbours(queries, floor=0.7)
    wide = queries.embedding.astype(np.float64)
    q = np.repeat(np.arange(1400), np.diff(near.start))
    exact = np.einsum("ij,ij->i", wide[q], wide[near.row])
    assert np.abs(exact - near.similarity).max() < 5e-4
    assert np.all(near.row < q) and np.all(queries.category[near.row] == queries.category[q])
    cosine = np.tril(wide @ wide.T, -1)
    sure = (cosine >= 0.701) & (queries.category[:, None] == queries.category)
    found = np.zeros_like(sure)
    found[q, near.row] = True
    assert not (sure & ~found).any()


def test_equal_embeddings_have_similarity_one() -> None:
    queries = draw_queries([Cluster("a", intents=1, verbatim=1.0)], 600, rate=1.0, dimensions=100)
    near = find_neighbours(queries, floor=1.0)
    assert (near.near == ONE).all() and len(near.row) == 600 * 599 // 2
    assert lists_of(near, 4)[3] == [(0, ONE), (1, ONE), (2, ONE)], "the earliest first"


def test_a_floor_for_each_category() -> None:
    queries = drawn(300)
    near = find_neighbours(queries, floor=[0.95, 0.3])
    q = np.repeat(np.arange(300), np.diff(near.start))
    dense = queries.category[q] == 0
    assert near.near[dense].min() >= 950_000 and near.near[~dense].min() < 500_000
    assert near.floor.tolist() == [950_000, 300_000]


def test_truncation_keeps_the_nearest_and_says_so() -> None:
    queries = drawn(300)
    whole, cut = find_neighbours(queries, floor=0.4), find_neighbours(queries, floor=0.4, most=5)
    for full, kept, truncated in zip(
        lists_of(whole, 300), lists_of(cut, 300), cut.truncated, strict=True
    ):
        assert kept == full[:5] and truncated == (len(full) > 5)
    assert cut.truncated.any()


def test_nothing_near() -> None:
    queries = drawn(40)
    near = find_neighbours(queries, floor=1.0)
    assert near.start.tolist() == [0] * 41 or len(near.row) < 40
    one = draw_queries([Cluster("a")], 1, rate=1.0)
    assert find_neighbours(one, floor=0.0).start.tolist() == [0, 0]


def test_hnsw_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    with pytest.raises(InputError, match=r"hnswlib is not installed; pip install mltwin\[sem"):
        find_neighbours(drawn(40), floor=0.5, method="hnsw")
    with pytest.raises(InputError, match="unknown method 'flat'"):
        find_neighbours(drawn(40), floor=0.5, method="flat")


class _Index:
    """hnswlib's index as far as it is used, by brute force; fails where `ef` < `needs`."""

    needs = 0

    def __init__(self, space: str, dim: int) -> None:
        assert space == "cosine"
        self.rows = np.zeros((0, dim))
        self.labels = np.zeros(0, np.int64)

    def init_index(self, max_elements: int, ef_construction: int, M: int, random_seed: int) -> None:
        self.most = max_elements

    def set_num_threads(self, threads: int) -> None:
        assert threads == 1

    def set_ef(self, ef: int) -> None:
        self.ef = ef

    def add_items(self, rows: np.ndarray, labels: np.ndarray) -> None:
        self.rows = np.concatenate([self.rows, rows])
        self.labels = np.concatenate([self.labels, labels])
        assert len(self.rows) <= self.most

    def knn_query(self, row: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        assert self.ef >= k
        if self.ef < self.needs:
            raise RuntimeError("Cannot return the results in a contiguous 2D array")
        cosine = self.rows @ row[0] / np.linalg.norm(self.rows, axis=1) / np.linalg.norm(row)
        order = np.lexsort((self.labels, -np.rint(cosine * 1e9)))[:k]
        return self.labels[order][None, :], 1 - cosine[order][None, :]


def test_hnsw_gives_the_same_where_the_index_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for hnswlib, which is not a dependency: what is around it is right."""
    monkeypatch.setitem(sys.modules, "hnswlib", types.SimpleNamespace(Index=_Index))
    queries = drawn(250)
    for most in (400, 7):
        exact = find_neighbours(queries, floor=0.55, most=most)
        found = find_neighbours(queries, floor=0.55, most=most, method="hnsw")
        assert lists_of(exact, 250) == lists_of(found, 250)
        assert np.array_equal(exact.truncated, found.truncated)
    monkeypatch.setattr(_Index, "needs", 300)
    assert lists_of(find_neighbours(queries, floor=0.55, method="hnsw"), 250) == lists_of(
        find_neighbours(queries, floor=0.55), 250
    )
    monkeypatch.setattr(_Index, "needs", 10**6)
    with pytest.raises(InputError, match="did not find 1 neighbours; use 'exact'"):
        find_neighbours(queries, floor=0.55, method="hnsw")


def test_too_many_dimensions() -> None:
    wide = draw_queries([Cluster("a")], 2, rate=1.0, dimensions=16_385)
    with pytest.raises(InputError, match="16,385 dimensions"):
        find_neighbours(wide, floor=0.5)


def test_the_real_graph_search_misses_few() -> None:
    pytest.importorskip("hnswlib")
    queries = drawn(2000)
    exact = find_neighbours(queries, floor=0.6, most=64)
    graph = find_neighbours(queries, floor=0.6, most=64, method="hnsw")
    pairs = [set(zip(*_pairs(found), strict=True)) for found in (exact, graph)]
    assert len(pairs[0] & pairs[1]) > 0.97 * len(pairs[0])  # hnswlib 0.8.0: 0.984


def _pairs(found: Neighbours) -> tuple[list[int], list[int]]:
    rows = np.repeat(np.arange(len(found.start) - 1), np.diff(found.start))
    return rows.tolist(), found.row.tolist()
