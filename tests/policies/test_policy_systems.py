"""Hooks of several systems side by side: each policy is checked against its own system's."""

import numpy as np
import pytest

from mltwin.models.caching.hooks import CACHE_CONTEXT
from mltwin.models.serving.hooks import CONTEXT
from mltwin.policies import defaults, list_policies, policy, resolve
from mltwin.policies.hooks import HOOKS, SYSTEMS, records_of, signature, system_of
from mltwin.sim.errors import InputError


def test_every_hook_belongs_to_one_system() -> None:
    assert sum(len(module.HOOKS) for module in SYSTEMS.values()) == len(HOOKS)
    assert {system_of(hook) for hook in HOOKS} == set(SYSTEMS)
    for name, hook in HOOKS.items():
        assert hook.name == name and signature(name) is not None
        assert set(hook.arguments) >= {"ctx", "params", "memory"}


def test_lists_are_by_system() -> None:
    everything = list_policies(system=None)
    assert [p.hook for p in everything] == sorted(
        (p.hook for p in everything), key=list(HOOKS).index
    )
    assert {p.hook for p in list_policies(system="caching")} == {"evict_object"}
    assert list_policies() == list_policies(system="serving")
    assert len(list_policies()) + len(list_policies("evict_object")) == len(everything)
    assert defaults("caching") == {}, "a cache is LRU by a kernel of its own"


def test_the_same_argument_is_another_record_in_another_system() -> None:
    assert records_of("route")["ctx"] is CONTEXT
    assert records_of("evict_object")["ctx"] is CACHE_CONTEXT
    with pytest.raises(InputError, match=r"ctx\.clock: there is no 'clock'"):

        @policy("evict")
        def of_a_block(block, ctx, params, memory):
            return float(ctx.clock)

    with pytest.raises(InputError, match=r"ctx\.replica: there is no 'replica'"):

        @policy("evict_object")
        def of_an_object(object, ctx, params, memory):
            return float(ctx.replica)


def test_a_policy_for_one_hook_does_not_fill_another() -> None:
    found, params = resolve({"name": "decayed_frequency", "half_life": 7}, "evict_object")
    assert params.tolist() == [7.0] and params.dtype == np.float64
    with pytest.raises(InputError, match="is for 'evict_object', not 'evict'"):
        resolve(found, "evict")
    with pytest.raises(InputError, match=r"no policy 'largest_first'"):
        resolve("largest_first", "evict")


def test_errors_name_the_record() -> None:
    @policy("evict_object")
    def adds_a_record(object, ctx, params, memory):
        return object + 1.0

    with pytest.raises(InputError, match=r"test_policy_systems\.py:\d+.*Numba cannot.*") as caught:
        adds_a_record.compiled()
    assert "Object" in str(caught.value) and "offset" not in str(caught.value)
