"""One budget for several kinds: the kernel equals its twin, nothing is lost, sharing pays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.models.adapters.arbiter import (
    MARGINAL,
    POOL,
    SHARINGS,
    STATIC,
    SharedInput,
    replay_shared,
)
from mltwin.models.adapters.dividing import share_reference
from mltwin.sim.errors import InputError


def case(seed: int, sharing: int, n: int = 400, objects: int = 40, **changes) -> SharedInput:
    """References to objects of three classes, a few of each request."""
    draw = np.random.default_rng(seed)
    values = {
        "request": np.sort(draw.integers(0, n // 2, n)),
        "object": np.minimum(draw.zipf(1.3, n) * draw.integers(1, 4, n), objects) - 1,
        "kind": draw.integers(0, 3, objects),
        "size": draw.integers(1, 9, objects),
        "cost": draw.integers(0, 50, objects),
        "capacity": draw.integers(0, 40, 3),
        "sharing": sharing,
        "step": int(draw.integers(1, 12)),
        "every": int(draw.integers(1, 30)),
    }
    return SharedInput(**{**values, **changes})


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), sharing=st.integers(0, len(SHARINGS) - 1))
def test_kernel_equals_twin(seed: int, sharing: int) -> None:
    made = case(seed, sharing)
    left, right = replay_shared(made), share_reference(made)
    np.testing.assert_array_equal(left.hit, right.hit)
    np.testing.assert_array_equal(left.held, right.held)
    np.testing.assert_array_equal(left.history, right.history)
    assert left.moves == right.moves
    for name, values in right.classes.items():
        np.testing.assert_array_equal(left.classes[name], values, name)


@pytest.mark.parametrize("sharing", range(len(SHARINGS)), ids=SHARINGS)
def test_conservation(sharing: int) -> None:
    for seed in range(30):
        made = case(seed, sharing)
        out = replay_shared(made)
        c = out.classes
        assert (c["hits"] + c["misses"]).sum() == len(made.object)
        np.testing.assert_array_equal(c["bytes_in"], c["used"] + c["bytes_out"])
        held = np.bincount(made.kind[out.held], made.size[out.held], 3)
        np.testing.assert_array_equal(c["used"], held.astype(np.int64))
        assert c["capacity"].sum() == made.budget
        if sharing == POOL:
            assert c["used"].sum() <= made.budget
            assert (out.history[:, 1:].sum(axis=1) <= made.budget).all()
        else:
            assert (c["used"] <= c["capacity"]).all()
        missed = np.bincount(made.kind[made.object[out.hit == 0]], minlength=3)
        np.testing.assert_array_equal(c["misses"], missed)


def uneven(sharing: int, **changes) -> SharedInput:
    """Class 0 loops over what needs most of the memory; class 1 needs little; even shares."""
    n = 12_000
    odd = np.arange(n) % 2 == 1
    draw = np.random.default_rng(0)
    loop = draw.integers(0, 30, n)
    return SharedInput(
        request=np.arange(n),
        object=np.where(odd, 40 + np.arange(n) // 2 % 4, loop),
        kind=np.repeat([0, 1], [40, 10]),
        size=np.ones(50, np.int64),
        cost=np.full(50, 10),
        capacity=np.array([18, 18]),
        sharing=sharing,
        step=1,
        every=100,
        **changes,
    )


def test_bytes_go_where_they_help() -> None:
    runs = {name: replay_shared(uneven(code)) for code, name in enumerate(SHARINGS)}
    cost = {name: int(run.classes["miss_cost"].sum()) for name, run in runs.items()}
    assert runs["marginal"].classes["capacity"].tolist()[0] >= 28
    assert cost["marginal"] < 0.35 * cost["static"] and cost["pool"] < 0.35 * cost["static"]
    assert not runs["static"].moves and runs["marginal"].moves >= 10


def test_the_pool_keeps_what_is_dear_by_the_byte() -> None:
    """Two classes of equal use and size: memory for one goes to the dearer."""
    n = 8000
    made = SharedInput(
        request=np.arange(n),
        object=np.random.default_rng(1).integers(0, 40, n),
        kind=np.repeat([0, 1], 20),
        size=np.ones(40, np.int64),
        cost=np.repeat([100, 1], 20),
        capacity=np.array([10, 10]),
        sharing=POOL,
    )
    out = replay_shared(made)
    assert out.classes["used"].tolist()[0] >= 19
    assert out.classes["hits"][0] > 0.9 * out.classes["misses"][1]


def test_one_class_makes_static_and_marginal_equal() -> None:
    runs = [
        replay_shared(case(3, s, kind=np.zeros(40, np.int64), capacity=np.array([60])))
        for s in (STATIC, MARGINAL)
    ]
    np.testing.assert_array_equal(runs[0].hit, runs[1].hit)


def test_what_a_request_holds_is_pinned() -> None:
    """Two objects of one request in a memory for one: the second passes through."""
    made = SharedInput(
        request=np.array([0, 0, 1]),
        object=np.array([0, 1, 0]),
        kind=np.zeros(2, np.int64),
        size=np.array([4, 4]),
        cost=np.array([1, 99]),
        capacity=np.array([5]),
        sharing=POOL,
    )
    for sharing in (STATIC, POOL):
        out = replay_shared(
            SharedInput(
                **{**{k: getattr(made, k) for k in made.__dataclass_fields__}, "sharing": sharing}
            )
        )
        assert out.hit.tolist() == [0, 0, 1] and out.classes["passed"].tolist() == [1]


@pytest.mark.parametrize(
    "changes",
    [
        {"object": np.full(400, 40)},
        {"request": np.arange(400)[::-1]},
        {"kind": np.full(40, 3)},
        {"size": np.zeros(40, np.int64)},
        {"step": 0},
    ],
)
def test_bad_input_is_told(changes) -> None:
    with pytest.raises(InputError):
        replay_shared(case(0, STATIC, **changes))
