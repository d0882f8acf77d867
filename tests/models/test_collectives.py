"""Collectives keep their promise in any order, and their steps take as long as the formulas say."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.models.network.collectives import ALGORITHMS, KINDS, Transfers, alphabeta_s, transfers
from mltwin.models.network.collectives_symbolic import broken_promises, carry_out
from mltwin.models.network.collectives_tree import (
    binary_parents,
    depth,
    double_tree_rounds,
    tree_rounds,
    two_trees,
)
from mltwin.sim.errors import InputError

SIZE, ALPHA, RATE = 1e6, 3e-6, 2e9


def cases(most: int = 13) -> Iterator[tuple[str, str, int, int | None]]:
    """Every kind, algorithm, number of ranks and island that there can be."""
    for kind in KINDS:
        for algorithm in ALGORITHMS[kind]:
            for n in [2] if kind == "send_recv" else range(2, most + 1):
                if algorithm == "halving_doubling" and kind != "all_reduce" and n & (n - 1):
                    continue
                islands = [g for g in range(1, n + 1) if n % g == 0]
                for island in islands if algorithm == "hierarchical" else [None]:
                    yield kind, algorithm, n, island


def rooted(kind: str, n: int) -> int:
    return n // 2 if kind == "broadcast" else 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunks", [1, 3])
def test_every_rank_ends_with_what_the_collective_promises(kind: str, chunks: int) -> None:
    for name, algorithm, n, island in cases():
        if name == kind:
            table = transfers(
                kind, n, SIZE, algorithm, island=island, chunks=chunks, root=rooted(kind, n)
            )
            for seed in range(3):
                broken = broken_promises(table, carry_out(table, seed=seed))
                assert not broken, (algorithm, n, island, seed, broken)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_drawn_cases_keep_their_promise_whatever_ends_first(data: st.DataObject) -> None:
    kind, algorithm, n, island = data.draw(st.sampled_from(list(cases(18))))
    ranks = data.draw(st.permutations(range(3, 3 + n)))
    table = transfers(
        kind,
        ranks,
        SIZE,
        algorithm,
        island=island,
        chunks=data.draw(st.integers(1, 5)),
        root=data.draw(st.integers(0, n - 1)) if kind == "broadcast" else 0,
    )
    assert broken_promises(table, carry_out(table, seed=data.draw(st.integers(0, 99)))) == []


def at_once(table: Transfers, row: int) -> Transfers:
    """The table with a transfer that waits for nothing."""
    first, after = table.after_first, table.after
    gone = np.arange(first[row], first[row + 1])
    cut = np.where(np.arange(len(first)) > row, first - len(gone), first)
    return Transfers(**{**vars(table), "after_first": cut, "after": np.delete(after, gone)})


@pytest.mark.parametrize("algorithm", ["ring", "tree", "double_tree", "halving_doubling"])
def test_the_check_sees_a_transfer_that_does_not_wait(algorithm: str) -> None:
    table = transfers("all_reduce", 5, SIZE, algorithm, chunks=2)
    waiting = np.flatnonzero(np.diff(table.after_first))
    seen = 0
    for row in waiting:
        cut = at_once(table, int(row))
        seen += any(broken_promises(cut, carry_out(cut, seed=seed)) for seed in range(8))
    # The others wait for their link alone, not for data.
    assert seen >= 0.5 * len(waiting)


def longest_chain_s(table: Transfers) -> float:
    """Seconds if every transfer takes alpha + bytes / B once all it waits for has ended."""
    end = np.zeros(len(table))
    while True:
        begun = np.zeros(len(table))
        waits = np.diff(table.after_first)
        owner = np.repeat(np.arange(len(table)), waits)
        np.maximum.at(begun, owner, end[table.after])
        new = begun + ALPHA + table.bytes / RATE
        if np.array_equal(new, end):
            return float(end.max())
        end = new


@pytest.mark.parametrize("chunks", [1, 2, 7])
def test_steps_take_as_long_as_the_closed_form(chunks: int) -> None:
    for kind, algorithm, n, island in cases():
        if algorithm in ("direct", "in_network"):
            continue  # Several messages share a rank's link: see the flows.
        table = transfers(
            kind, n, SIZE, algorithm, chunks=chunks, island=island, root=rooted(kind, n)
        )
        formula = alphabeta_s(kind, algorithm, n, SIZE, ALPHA, RATE, chunks=chunks, island=island)
        assert longest_chain_s(table) == pytest.approx(formula, rel=1e-12), (kind, algorithm, n)


@pytest.mark.parametrize("algorithm", ["ring", "tree", "double_tree", "halving_doubling"])
def test_a_rank_sends_and_gets_one_message_at_a_time(algorithm: str) -> None:
    table = transfers("all_reduce", 8, SIZE, algorithm, chunks=4)
    turn = np.zeros(len(table), int)
    while True:
        owner = np.repeat(np.arange(len(table)), np.diff(table.after_first))
        new = np.zeros(len(table), int)
        np.maximum.at(new, owner, turn[table.after] + 1)
        if np.array_equal(new, turn):
            break
        turn = new
    for end in (table.source, table.target):
        assert len(set(zip(end.tolist(), turn.tolist(), strict=True))) == len(table)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 12])
def test_a_ring_all_reduce_is_twice_the_bytes_less_one_share(n: int) -> None:
    formula = 2 * (n - 1) / n * SIZE / RATE + 2 * (n - 1) * ALPHA
    assert alphabeta_s("all_reduce", "ring", n, SIZE, ALPHA, RATE) == pytest.approx(formula)
    table = transfers("all_reduce", n, SIZE, "ring")
    sent = np.bincount(table.source, table.bytes)
    assert sent == pytest.approx(np.full(n, 2 * (n - 1) / n * SIZE))


@pytest.mark.parametrize("algorithm", ["ring", "halving_doubling", "direct", "hierarchical"])
def test_bandwidth_optimal_all_reduces_send_no_byte_more(algorithm: str) -> None:
    table = transfers("all_reduce", 16, SIZE, algorithm, island=4)
    assert np.bincount(table.source, table.bytes) == pytest.approx(
        np.full(16, 2 * 15 / 16 * SIZE), rel=1e-12
    )


@pytest.mark.parametrize("n", range(1, 70))
def test_two_trees_are_trees_and_an_inner_rank_of_one_is_a_leaf_of_the_other(n: int) -> None:
    inner = []
    for parent in two_trees(n):
        assert (parent == -1).sum() == 1
        assert depth(parent) <= np.ceil(np.log2(n + 1)) - 1 + (n > 1)
        children = np.bincount(parent[parent >= 0], minlength=n)
        assert children.max() <= 2
        inner.append(set(np.flatnonzero(children)))
    assert not inner[0] & inner[1]


@pytest.mark.parametrize("n", [2, 3, 6, 7, 15, 31, 64])
def test_two_trees_reach_the_bandwidth_that_one_tree_lacks(n: int) -> None:
    """Sanders, Speck and Träff 2009: a broadcast takes about as long as its bytes need, an
    all-reduce twice that; one binary tree takes twice as long as two."""
    chunks = 60
    two = double_tree_rounds("broadcast", n, chunks)
    assert 2 * chunks <= two <= 2 * chunks + 2 * np.ceil(np.log2(n))
    both = double_tree_rounds("all_reduce", n, chunks)
    assert 4 * chunks * (n > 2) <= both <= 4 * chunks + 4 * np.ceil(np.log2(n))
    if n > 3:
        assert tree_rounds(n, chunks) / chunks == pytest.approx(2, rel=0.2)
    assert depth(binary_parents(n)) == int(np.log2(n))


def test_pipelined_flows_carry_the_bytes_of_the_steps() -> None:
    for kind, algorithm, n, island in cases(9):
        one = transfers(kind, n, SIZE, algorithm, island=island)
        two = transfers(kind, n, SIZE, algorithm, island=island, pipelined=True)
        assert two.sent_bytes == pytest.approx(one.sent_bytes, rel=1e-12), (kind, algorithm, n)
        assert len(two) <= len(one)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"kind": "all_sum"}, "all_sum"),
        ({"algorithm": "snake"}, "snake"),
        ({"ranks": 1}, "at least 2"),
        ({"ranks": [0, 1, 1]}, "rank 1 is given twice"),
        ({"ranks": [0, -1]}, "rank -1"),
        ({"bytes": 0.0}, "bytes is 0"),
        ({"bytes": float("nan")}, "bytes is nan"),
        ({"algorithm": "hierarchical", "island": 3}, "islands of 3"),
        ({"kind": "broadcast", "root": 8}, "root 8"),
        ({"chunks": 0}, "0 chunks"),
        ({"kind": "send_recv", "algorithm": "direct"}, "exactly 2"),
        ({"kind": "all_to_all", "ranks": 3000, "algorithm": "direct"}, "transfers"),
        ({"kind": "all_gather", "ranks": 6, "algorithm": "halving_doubling"}, "power of two"),
    ],
)
def test_bad_input_is_named(change: dict, text: str) -> None:
    given = {"kind": "all_reduce", "ranks": 8, "bytes": SIZE, "algorithm": "ring"} | change
    with pytest.raises(InputError, match=text):
        transfers(**given)
