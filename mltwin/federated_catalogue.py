"""What a federation may be made of, as tables: policies with parameters and sources."""

import dataclasses
from typing import Any

from mltwin.sim.errors import InputError

from .fields import close_to
from .text import Table

PROTOCOL = "protocol"
"""The kind of what peers follow, without a server."""


def strategies(kind: str | None = None) -> Table:
    """The built-in policies: kind, name, what it does, parameters with defaults, source.

    Args:
        kind: strategy, selection, codec, attack, combine, or protocol (of peers); None: all.

    Raises InputError: an unknown kind.
    """
    from mltwin.policies.federated.registry import KINDS, built_in

    kinds = (*KINDS, PROTOCOL)
    if kind is not None and kind not in kinds:
        raise InputError(f"no kind {kind!r}", where="kind", mend=close_to(kind, kinds))
    rows: list[list[Any]] = []
    breaks = set()
    for one in [kind] if kind else kinds:
        if one == PROTOCOL:
            rows += _protocols()
        else:
            for name, entry in built_in(one).items():
                rows.append([one, name, entry.about, _all(entry.parameters), entry.source])
        breaks.add(len(rows) - 1)
    heads = ["kind", "name", "what", "parameters", "source"]
    return Table(heads, rows, breaks=breaks - {len(rows) - 1})


def _protocols() -> list[list[Any]]:
    """The protocols of `peers`; sources stand in their modules' docstrings."""
    from .federated_peers import PROTOCOLS, protocol_class, protocol_parameters

    parameters = protocol_parameters()
    return [
        [PROTOCOL, name, (protocol_class(name).__doc__ or "").split("\n", 1)[0],
         _all(parameters[name]), f"mltwin.models.federation.peers.{module}"]
        for name, (module, _) in PROTOCOLS.items()
    ]  # fmt: skip


def _all(parameters: dict[str, Any]) -> str:
    return ", ".join(_told(key, value) for key, value in parameters.items())


def _told(name: str, default: Any) -> str:
    if default is dataclasses.MISSING:
        return name
    return f"{name}={default:g}" if isinstance(default, float) else f"{name}={default}"
