"""What a form offers: names of models, GPUs, engines, traces and policies, with a word on each.

`mltwin.shelf` shows the same as tables; pages of the explorer make their controls from these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class PolicyChoice:
    """A policy that a hook may use: its name, what it does, its parameters' defaults."""

    name: str
    summary: str
    params: Mapping[str, float]


@cache
def policies_by_hook() -> Mapping[str, tuple[PolicyChoice, ...]]:
    """Each hook's built-in policies; the default first, then by name."""
    from mltwin.policies import defaults, list_policies

    usual = {hook: policy.name for hook, policy in defaults().items()}
    found: dict[str, list[PolicyChoice]] = {}
    for policy in list_policies():
        choice = PolicyChoice(policy.name, policy.summary, dict(policy.params))
        found.setdefault(policy.hook, []).append(choice)
    return {
        hook: tuple(sorted(choices, key=lambda c: (c.name != usual.get(hook), c.name)))
        for hook, choices in found.items()
    }


@cache
def hook_texts() -> Mapping[str, str]:
    """What is decided at each hook."""
    from mltwin.models.serving.hooks import HOOKS

    return {hook.name: hook.decides for hook in HOOKS.values()}


@cache
def model_names() -> tuple[str, ...]:
    """The shipped models."""
    from mltwin.models.llm import model_names as names

    return tuple(names())


@cache
def gpu_names() -> tuple[str, ...]:
    """The shipped GPU profiles."""
    from mltwin.models.gpu.profile import profile_names

    return tuple(profile_names())


@cache
def engine_texts() -> Mapping[str, str]:
    """The engine presets: name to what it stands for."""
    from .engines import PRESETS

    return {name: text for name, (_, text) in PRESETS.items()}


def traces_here() -> Mapping[str, str]:
    """Traces that can be run now: name to title; synthetic ones first, then those found on this
    machine."""
    from mltwin.workloads.catalogue import info, list_traces, locate

    entries = [(name, info(name)) for name in list_traces()]
    here = [
        (name, entry)
        for name, entry in entries
        if entry.synthetic or locate(name, verify=False) is not None
    ]
    return {name: entry.title for name, entry in here}


def object_traces_here() -> Mapping[str, str]:
    """Object traces that can be replayed now, as `traces_here`."""
    from mltwin.workloads.objects.catalogue import info, list_objects, locate

    entries = [(name, info(name)) for name in list_objects()]
    return {
        name: entry.title
        for name, entry in entries
        if entry.synthetic or locate(name, verify=False) is not None
    }


@cache
def evictions() -> Mapping[str, str]:
    """The eviction policies: name to who leaves; oracles last."""
    from mltwin.models.caching.registry import EVICTIONS

    ordered = sorted(EVICTIONS.values(), key=lambda policy: policy.future)
    return {policy.name: policy.about for policy in ordered}
