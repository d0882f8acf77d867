"""The server's books: updates that are open, arrivals, and how long the parts of work take."""

from typing import Any

import numpy as np
import pytest

from mltwin.models.federation.hooks import DONE, FAILED, Arrivals
from mltwin.models.federation.open_updates import OpenUpdates
from mltwin.models.federation.phases import phases_of
from mltwin.models.federation.tables import TICKS_PER_S, Clients, Plan
from mltwin.sim.errors import InputError


def made(client: Any, dispatch: Any, held: Any = 0, status: Any = DONE) -> Arrivals:
    who = np.atleast_1d(np.asarray(client, np.int32))
    column = lambda values: np.broadcast_to(values, who.shape).astype(np.int64)  # noqa: E731
    kinds = np.broadcast_to(status, who.shape).astype(np.int8)
    return Arrivals(
        *(who, column(dispatch), column(held), column(5), column(9), column(1), kinds),
        *(column(0), column(4)),
    )


class Plain:
    """The same books, a list of rows."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int]] = []

    def add(self, arrivals: Arrivals) -> None:
        columns = arrivals.client, arrivals.dispatch, arrivals.held
        self.rows += list(zip(*(column.tolist() for column in columns), strict=True))

    def take(self, which: int | Arrivals) -> list[tuple[int, int, int]]:
        if isinstance(which, int):
            taken = self.rows[:which]
        else:
            keys = set(zip(which.client.tolist(), which.dispatch.tolist(), strict=True))
            taken = [row for row in self.rows if row[:2] in keys]
        self.rows = [row for row in self.rows if row not in taken]
        return taken


@pytest.mark.parametrize("seed", range(30))
def test_open_updates_are_a_list_of_rows(seed: int) -> None:
    draw = np.random.default_rng(seed)
    books, plain, version = OpenUpdates(6), Plain(), 0
    used, wasted, stale = np.zeros(6, int), np.zeros(6, int), []
    for number in range(60):
        some = made(
            draw.permutation(6)[: draw.integers(0, 4)], number, draw.integers(0, version + 1)
        )
        books.add(some), plain.add(some)
        which: Any = some if draw.random() < 0.5 else int(draw.integers(0, 4))
        if draw.random() < 0.3:
            which = some.where(draw.permutation(len(some))[:2])
        if isinstance(which, Arrivals) and draw.random() < 0.3:
            books.discard(which)
            for client, *_ in plain.take(which):
                wasted[client] += 4
        elif draw.random() < 0.8:
            taken = plain.take(which)
            found = books.use(which, version)
            assert found.tolist() == [version - held for _, _, held in taken]
            stale += found.tolist()
            for client, *_ in taken:
                used[client] += 1
            version += 70 if draw.random() < 0.1 else 1
        assert len(books) == len(plain.rows)
        assert books.clients.tolist() == [client for client, *_ in plain.rows]
    assert books.used.tolist() == used.tolist()
    assert books.wasted_of.tolist() == wasted.tolist() and books.wasted == wasted.sum()
    assert books.histogram().tolist() == np.bincount(stale).tolist()


def test_arrivals_that_are_done_are_found_once_and_none_is_none() -> None:
    mixed = made([3, 1, 2], [0, 1, 2], status=[DONE, FAILED, DONE])
    assert mixed.done.client.tolist() == [3, 2]
    assert mixed.done is mixed.done and mixed.done.done is mixed.done
    assert len(made([1], 0, status=FAILED).done) == 0
    whole = made([1, 2], 0)
    assert whole.done is whole
    assert [one.client.tolist() for one in mixed.singly()] == [[3], [1], [2]]
    alone = made([1], 0)
    assert next(iter(alone.singly())) is alone


def test_parts_of_work_are_the_formula_to_the_bit() -> None:
    draw = np.random.default_rng(0)
    count = 50
    people = Clients.make(
        draw.integers(1, 90, count),
        s_per_sample=draw.random(count) * 1e-3,
        down_bytes_per_s=np.where(draw.random(count) < 0.2, np.inf, draw.random(count) * 1e6),
        up_bytes_per_s=draw.random(count) * 1e5,
        latency_s=draw.random(count) * 0.1,
    )
    for batch in (0, 10):
        plan = Plan(batch=batch, compute_factor=1.7)
        which = draw.permutation(count)[:20].astype(np.int32)
        steps, scale = draw.integers(0, 9, 20), draw.random(20)
        down, up = draw.random(20) * 1e6, draw.random(20) * 1e6
        found = phases_of(
            people, plan, which, steps=steps, scale=scale, down_bytes=down, up_bytes=up
        )
        samples = people.samples[which]
        size = np.minimum(batch, samples) if batch else samples
        assert np.array_equal(
            found.compute_s, steps * size * people.s_per_sample[which] * 1.7 * scale
        )
        latency = people.latency_s[which]
        for ticks, moved, rate in (
            (found.receive, down, people.down_bytes_per_s),
            (found.send, up, people.up_bytes_per_s),
        ):
            seconds = latency + moved / rate[which]
            assert np.array_equal(ticks, np.rint(seconds * TICKS_PER_S).astype(np.int64))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"steps": [1, -1]}, "training of client 4"),
        ({"up_bytes": np.nan}, "upload of client 2"),
        ({"down_bytes": 1e30}, "download of client 2"),
    ],
)
def test_impossible_parts_are_named(given: dict[str, Any], named: str) -> None:
    people = Clients.make(np.full(5, 9), s_per_sample=1e-3, down_bytes_per_s=1.0)
    usual = {"steps": 1, "scale": 1.0, "down_bytes": 1.0, "up_bytes": 1.0}
    with pytest.raises(InputError, match=named):
        phases_of(people, Plan(), np.array([2, 4], np.int32), **{**usual, **given})
