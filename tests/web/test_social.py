"""Graphs, sessions and views have the properties that they are asked for."""

from pathlib import Path

import numpy as np
import pytest

import mltwin as mt
from mltwin.models.web.activity import draw_sessions, draw_views, object_bytes, pairs_of
from mltwin.models.web.graph import Graph, barabasi_albert, graph_of, read_edges, watts_strogatz

HOUR = 3600 * 10**9


def check_graph(graph: Graph) -> None:
    """Symmetric, sorted, nobody twice, nobody a friend of himself."""
    user = np.repeat(np.arange(graph.users), graph.degree)
    edges = set(zip(user.tolist(), graph.friend.tolist(), strict=True))
    assert len(edges) == len(graph.friend)
    assert all((b, a) in edges and a != b for a, b in edges)
    for a, b in zip(graph.start, graph.start[1:], strict=False):
        assert (np.diff(graph.friend[a:b]) > 0).all()


def test_small_worlds() -> None:
    ring = watts_strogatz(1, 20, 4, 0.0)
    check_graph(ring)
    assert ring.friend[: ring.start[1]].tolist() == [1, 2, 18, 19]
    wild = watts_strogatz(1, 500, 10, 0.3)
    check_graph(wild)
    assert wild.degree.mean() == 10 and wild.degree.std() > 0
    near = np.abs(np.repeat(np.arange(500), wild.degree) - wild.friend)
    assert np.mean(np.minimum(near, 500 - near) > 5) == pytest.approx(0.3, abs=0.04)


def test_hubs() -> None:
    graph = barabasi_albert(1, 2000, 10)
    check_graph(graph)
    assert graph.degree.mean() == pytest.approx(10, abs=0.1)
    assert graph.degree.min() == 5 and graph.degree.max() > 80


def test_edges_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "e.txt").write_text("# friends\nann bob\nbob\tann\n\ncid,ann  # new\n")
    graph = read_edges(tmp_path / "e.txt")
    check_graph(graph)
    assert graph.names == ("ann", "bob", "cid")
    assert graph.friend.tolist() == [1, 2, 0, 0]
    with pytest.raises(mt.InputError, match=r"bad.txt, line 2: 'a b c' is not an edge"):
        (tmp_path / "bad.txt").write_text("a b\na b c\n")
        read_edges(tmp_path / "bad.txt")
    with pytest.raises(mt.InputError, match="no such file"):
        read_edges(tmp_path / "none.txt")
    with pytest.raises(mt.InputError, match="has no edges"):
        (tmp_path / "empty.txt").write_text("# nobody\n")
        read_edges(tmp_path / "empty.txt")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_users_are_online_for_their_share(share: float) -> None:
    users, horizon = 300, 200 * HOUR
    found = draw_sessions(1, users, horizon, share=share, session=HOUR // 2)
    online = 0.0
    for user in range(users):
        times = found.time[found.start[user] : found.start[user + 1]]
        assert (np.diff(times) > 0).all()
        edges = np.concatenate([[0], times, [horizon]])
        online += np.diff(edges)[1 - found.online[user] :: 2].sum()
    assert online / users / horizon == pytest.approx(share, abs=0.02)


def test_day_and_night() -> None:
    found = draw_sessions(1, 500, 240 * HOUR, share=0.3, session=HOUR // 2, diurnal=0.8,
                          peak=20 * HOUR)  # fmt: skip
    times, users = found.toggles()
    assert (np.diff(times) >= 0).all() and len(users) == len(found.time)
    hour = times // HOUR % 24
    assert np.sum((hour >= 18) & (hour < 22)) > 1.5 * np.sum((hour >= 6) & (hour < 10))


def test_views_are_of_friends_that_are_online() -> None:
    graph = watts_strogatz(2, 100, 8, 0.2)
    sessions = draw_sessions(2, 100, 24 * HOUR, share=0.3, session=HOUR // 2)
    views = draw_views(2, graph, sessions, 24 * HOUR, objects=200, view_probability=0.5,
                       share_probability=0.2, delay=HOUR, repeat_probability=0.2)  # fmt: skip
    assert (np.diff(views.time) >= 0).all() and views.time.max() <= 24 * HOUR
    seen: dict[int, set[int]] = {}
    repeats = 0
    for time, user, item, kind in zip(views.time, views.user, views.item, views.kind, strict=True):
        toggles = sessions.time[sessions.start[user] : sessions.start[user + 1]]
        assert (sessions.online[user] + np.sum(toggles <= time)) % 2 == 1
        circle = seen.setdefault(int(item), set())
        if kind:
            assert not circle
        else:
            friends = graph.friend[graph.start[user] : graph.start[user + 1]].tolist()
            assert circle & set(friends)
            repeats += int(user) in circle
        circle.add(int(user))
    assert repeats > 50


def test_nobody_shares_only_friends_of_the_publisher_view() -> None:
    graph = watts_strogatz(3, 100, 8, 0.2)
    sessions = draw_sessions(3, 100, 24 * HOUR, share=1.0, session=HOUR)
    views = draw_views(3, graph, sessions, 24 * HOUR, objects=2000, view_probability=0.4,
                       share_probability=0.0, delay=1, repeat_probability=0.0)  # fmt: skip
    assert (views.kind == 0).sum() == pytest.approx(2000 * 8 * 0.4, rel=0.03)


def test_pairs_of_friends() -> None:
    graph = graph_of(4, np.array([0, 0, 2]), np.array([1, 2, 3]))
    users, items = np.array([0, 1, 2, 3, 0, 0]), np.array([5, 5, 5, 5, 1, 5])
    pair, owner, item, start, found = pairs_of(graph, users, items)
    assert owner[pair].tolist() == users.tolist() and item[pair].tolist() == items.tolist()
    mine = {int(p): owner[found[start[p] : start[p + 1]]].tolist() for p in range(len(owner))}
    assert mine[int(pair[0])] == [1, 2] and mine[int(pair[3])] == [2]
    assert mine[int(pair[4])] == []


def test_sizes() -> None:
    sizes = object_bytes(1, 20_000, 1e5, 1.0)
    assert np.median(sizes) == pytest.approx(1e5, rel=0.03)
    assert np.log(sizes).std() == pytest.approx(1.0, rel=0.03)
    assert set(object_bytes(1, 10, 7.0, 0.0).tolist()) == {7}
