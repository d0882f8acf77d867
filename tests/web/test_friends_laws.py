"""Friends' browsers: what follows on paper must come out."""

from itertools import pairwise

import numpy as np
import pytest

from mltwin.models.web import FriendsPlan, run_friends
from mltwin.models.web.friends_tables import CUT, FRIEND, JOINED, LOCAL, ORIGIN, UNIT_BITS
from mltwin.web import WebScenario
from mltwin.web_run import graph_of, lower_friends, what_users_do

BYTE = 1 << UNIT_BITS  # units: at this rate a byte takes a tick


def hand_plan(views: list[tuple[int, int, int]], **more: object) -> FriendsPlan:
    """Three users that all know each other, one object of 100 bytes; uploads of a byte a tick, the
    origin sends ten. Views are (time, user, kind)."""
    given = {
        "view_time": [t for t, _, _ in views],
        "view_pair": [u for _, u, _ in views],
        "view_kind": [k for _, _, k in views],
        "pair_user": [0, 1, 2],
        "pair_bytes": [100] * 3,
        "friend_start": [0, 2, 4, 6],
        "friend_pair": [1, 2, 0, 2, 0, 1],
        "toggle_time": [],
        "toggle_user": [],
        "online": [1, 1, 1],
        "capacity": [1000] * 3,
        "upload": [BYTE] * 3,
        "slots": 2,
        "download": 10 * BYTE,
    }
    return FriendsPlan(**(given | more))  # type: ignore[arg-type]


def test_two_uploads_share_the_bandwidth() -> None:
    """The second begins when half of the first is sent: 50 alone, then both at half the rate; the
    first has 50 left and ends at 150, the second ends at 200."""
    out = run_friends(hand_plan([(0, 0, 1), (0, 1, 0), (50, 2, 0)]))
    assert out.source.tolist() == [0, FRIEND, FRIEND] and out.uploader.tolist() == [-1, 0, 0]
    assert out.done.tolist() == [0, 150, 200]
    assert out.uploaded.tolist() == [200, 0, 0]


def test_the_less_busy_friend_sends() -> None:
    out = run_friends(hand_plan([(0, 0, 1), (0, 1, 1), (10, 2, 0)]))
    assert out.uploader[2] == 0  # as many uploads, as many bytes: the lowest number
    more = hand_plan([(0, 0, 1), (10, 1, 0), (200, 2, 0)])
    assert run_friends(more).uploader[2] == 1  # 0 has uploaded before


def test_no_slot_no_friend() -> None:
    out = run_friends(hand_plan([(0, 0, 1), (0, 1, 0), (50, 2, 0)], slots=1))
    assert out.source.tolist() == [0, FRIEND, ORIGIN] and out.done.tolist() == [0, 100, 60]


@pytest.mark.parametrize(("resume", "done", "origin", "wasted"), [(0, 50, 100, 40), (1, 46, 60, 0)])
def test_who_leaves_cuts_his_uploads(resume: int, done: int, origin: int, wasted: int) -> None:
    """40 of 100 bytes are sent; the origin needs 10 ticks for all, or 6 for the rest."""
    plan = hand_plan([(0, 0, 1), (0, 1, 0)], toggle_time=[40], toggle_user=[0], resume=bool(resume))
    out = run_friends(plan)
    assert out.source[1] == CUT and out.done[1] == done
    assert out.totals["origin"] == origin
    assert out.uploaded[0] == 40 and out.wasted[0] == wasted


def test_an_upload_that_ends_as_its_user_leaves_is_whole() -> None:
    out = run_friends(hand_plan([(0, 0, 1), (0, 1, 0)], toggle_time=[100], toggle_user=[0]))
    assert out.source[1] == FRIEND and out.done[1] == 100 and out.totals["origin"] == 0


def test_offline_friends_do_not_send() -> None:
    out = run_friends(hand_plan([(0, 0, 1), (5, 1, 0)], online=[0, 1, 1]))
    assert out.source[1] == ORIGIN


def test_views_join_a_fetch_and_find_what_is_kept() -> None:
    out = run_friends(hand_plan([(0, 1, 0), (4, 1, 0), (30, 1, 0)]))
    assert out.source.tolist() == [ORIGIN, JOINED, LOCAL] and out.done.tolist() == [10, 10, 30]
    small = run_friends(hand_plan([(0, 1, 0), (30, 1, 0)], capacity=[1000, 99, 1000]))
    assert small.source.tolist() == [ORIGIN, ORIGIN]


BASE = WebScenario().changed(
    {"graph.users": 60, "graph.degree": 8, "activity.objects": 150, "browser.cache_mb": 1e6}
)
AT_ONCE = {"browser.download_mbit_per_s": 1e6, "browser.upload_mbit_per_s": 1e6,
           "browser.uploads": 64}  # fmt: skip


def test_without_friends_all_is_the_origin() -> None:
    metrics = BASE.set("browser.ask_friends", False).run().metrics
    assert metrics["offload_ratio"] == metrics["byte_offload_ratio"] == 0
    assert metrics["uploaded_gb"] == 0


def test_everybody_friends_and_online_only_first_views_are_the_origin() -> None:
    scenario = BASE.changed(
        AT_ONCE | {"graph.degree": 59, "graph.rewire": 0.0, "sessions.online_share": 1.0,
                   "browser.publisher_keeps": False}
    )  # fmt: skip
    result = scenario.run()
    plan, graph = lower_friends(scenario, 0)
    assert (graph.degree >= 58).all()
    viewed = plan.view_kind == 0
    objects = np.unique(what_users_do(scenario, 0, graph)[1].item[viewed])
    strangers = 60 * 59 - graph.degree.sum()  # an odd degree is rounded down
    assert len(objects) <= result.metrics["origin_requests"] <= len(objects) + strangers
    assert result.metrics["cut_loss"] == 0


def test_a_view_is_the_origins_unless_a_friend_has_it() -> None:
    """All online, infinite caches, transfers in no time: told by hand from the views alone."""
    scenario = BASE.changed(AT_ONCE | {"sessions.online_share": 1.0})
    graph = graph_of(scenario, 0)
    friends = [set(graph.friend[a:b].tolist()) for a, b in pairwise(graph.start)]
    views = what_users_do(scenario, 0, graph)[1]
    holders: dict[int, set[int]] = {}
    expected = []
    for user, item, kind in zip(views.user, views.item, views.kind, strict=True):
        have = holders.setdefault(int(item), set())
        if not kind:
            mine, theirs = user in have, have & friends[user]
            expected.append(LOCAL if mine else FRIEND if theirs else ORIGIN)
        have.add(int(user))
    found = scenario.run().tables["views"]["source"]
    assert np.mean(found == np.array(expected)) > 0.999  # but for views in the same microsecond


def test_more_online_more_offload() -> None:
    shares = [
        BASE.set("sessions.online_share", share).run().metrics["offload_ratio"]
        for share in (0.1, 0.3, 0.6, 1.0)
    ]
    assert shares == sorted(shares) and shares[-1] > shares[0] + 0.1


def test_slow_uploads_are_cut_more() -> None:
    fast = BASE.changed({"sessions.minutes": 5.0, "browser.upload_mbit_per_s": 5.0})
    slow = fast.set("browser.upload_mbit_per_s", 0.02)
    assert slow.run().metrics["cut_loss"] > 5 * fast.run().metrics["cut_loss"]
    assert not slow.run().violations
