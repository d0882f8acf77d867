"""Random plans of web caches for the tests: small, with every feature now and then."""

import numpy as np

from mltwin.models.web import CdnPlan, FriendsPlan


def random_friends(seed: int) -> FriendsPlan:
    """Users, friendships, sessions, views and bandwidths drawn from the seed."""
    draw = np.random.default_rng(seed)
    users, items, views = (int(n) for n in draw.integers([2, 1, 1], [7, 6, 80]))
    friends = np.triu(draw.random((users, users)) < 0.6, 1)
    friends |= friends.T
    sizes = draw.integers(1, 60, items)
    span = int(draw.choice([40, 400, 4000]))
    view_time = np.sort(draw.integers(0, span, views))
    pair = draw.integers(0, users, views) * items + draw.integers(0, items, views)
    start, found = [0], []
    for each in range(users * items):
        user, item = divmod(each, items)
        found += [friend * items + item for friend in np.flatnonzero(friends[user]).tolist()]
        start.append(len(found))
    toggles = int(draw.integers(0, 30))
    return FriendsPlan(
        view_time=view_time,
        view_pair=pair,
        view_kind=(draw.random(views) < 0.2).astype(np.int64),
        pair_user=np.repeat(np.arange(users), items),
        pair_bytes=np.tile(sizes, users),
        friend_start=np.array(start),
        friend_pair=np.array(found, np.int64),
        toggle_time=np.sort(draw.integers(0, span, toggles)),
        toggle_user=draw.integers(0, users, toggles),
        online=(draw.random(users) < 0.8).astype(np.int64),
        capacity=draw.choice([0, 50, 150, 10**6], users),
        upload=draw.integers(3, 5, users) << int(draw.integers(22, 28)),
        slots=int(draw.integers(1, 4)),
        download=int(draw.integers(1, 9)) << 25,
        resume=bool(draw.random() < 0.5),
        choice=int(draw.integers(0, 2)),
        friends=bool(draw.random() < 0.9),
        keep=bool(draw.random() < 0.7),
        seed=seed,
    )


def random_cdn(seed: int) -> CdnPlan:
    """Requests, caches and hops drawn from the seed."""
    draw = np.random.default_rng(seed)
    edges, items, requests = (int(n) for n in draw.integers([1, 1, 1], [4, 12, 150]))
    slow = int(draw.choice([0, 1, 30]))
    return CdnPlan(
        time=np.sort(draw.integers(0, int(draw.choice([50, 500, 5000])), requests)),
        edge=draw.integers(0, edges, requests),
        item=np.minimum(draw.geometric(0.3, requests) - 1, items - 1),
        item_bytes=draw.integers(1, 20, items),
        capacity=draw.integers(1, 80, edges + 1),
        parent_ticks=draw.integers(0, slow + 1, items),
        origin_ticks=draw.integers(0, 3 * slow + 1, items),
        policy=int(draw.integers(0, 3)),
        parent=bool(draw.random() < 0.8),
        collapse=bool(draw.random() < 0.7),
        parent_latency=int(draw.integers(0, slow + 1)),
        origin_latency=int(draw.integers(0, 2 * slow + 1)),
    )
