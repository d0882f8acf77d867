"""Decisions: small functions that fill the hooks at which a system asks what to do.

A policy is plain Python, decorated with `policy`::

    from mltwin.models.serving.hooks import PREFILL_ROLE, UP
    from mltwin.policies import policy

    @policy("route", params={"limit": 64.0})
    def first_below(request, replicas, hits, ctx, params, memory):
        \"\"\"The first replica with fewer than `limit` requests, else the last one.\"\"\"
        chosen = -1
        for i in range(len(replicas)):
            if replicas[i].state == UP and replicas[i].role & PREFILL_ROLE:
                chosen = i
                if replicas[i].outstanding < params[0]:
                    return i
        return chosen

The hooks, their arguments and what they answer stand in `mltwin.models.serving.hooks`. There is
one file for each family (scheduling, routing, placement, admission, preemption, eviction,
scaling); a scenario names a policy of ours by its name, one of yours as ``file.py:function``.
"""

if __name__ != "mltwin.policies":
    raise ImportError("import it as 'mltwin.policies', not '" + __name__ + "'")

from .declare import Policy, Sizes, policy, policy_params
from .registry import defaults, list_policies, resolve

__all__ = [
    "Policy",
    "Sizes",
    "defaults",
    "list_policies",
    "policy",
    "policy_params",
    "resolve",
]
