"""The proof that rates are max-min fair: each flow has a full link on which its share is greatest.

It holds for exactly one set of rates (Bertsekas and Gallager, "Data Networks", section 6.5.2), so
who checks it needs no second solver. A flow at its own cap needs no link.
"""

from typing import Any

import numpy as np

from .tables import crossings


def broken_certificate(world: Any, tolerance: float = 1e-9) -> list[str]:
    """What is wrong with the rates of a settled world, each a line; empty if nothing is.

    Args:
        world: tables of `shared.network_tables`, after `settle`.
        tolerance: relative, of shares and of a link's bandwidth.
    """
    active, owner, path = crossings(world)
    b = world.bundle[active]
    n_links = len(world.link)
    used = np.bincount(path, (b.weight * b.share)[owner], minlength=n_links)
    greatest = np.zeros(n_links)
    np.maximum.at(greatest, path, b.share[owner])
    capacity = world.link.capacity
    over = np.flatnonzero(used > capacity * (1 + tolerance))
    found = [f"link {k} carries {used[k]} of {capacity[k]}" for k in over.tolist()]
    full = used >= capacity * (1 - tolerance)
    holds = full[path] & (b.share[owner] >= greatest[path] * (1 - tolerance))
    held = np.bincount(owner, holds, minlength=len(active)) > 0
    held |= b.share >= b.cap * (1 - tolerance)
    for k in np.flatnonzero(~held).tolist():
        found.append(f"bundle {active[k]} has {b.share[k]} and no link that holds it back")
    for k in np.flatnonzero(b.share > b.cap * (1 + tolerance)).tolist():
        found.append(f"bundle {active[k]} has {b.share[k]}, more than its cap of {b.cap[k]}")
    return found + _broken_books(world, active, used, tolerance)


def _broken_books(world: Any, active: Any, used: Any, tolerance: float) -> list[str]:
    """Whether the running sums of links and bundles are what their flows add up to."""
    capacity = world.link.capacity
    drift = np.abs(capacity - used - world.link.left) > tolerance * capacity
    drift &= capacity > 0  # a broken link gives nothing, whatever rounding left there
    found = [f"link {k} has lost count of its bandwidth" for k in np.flatnonzero(drift).tolist()]
    moving = world.flow[world.flow.moving == 1]
    weight = np.bincount(moving.bundle, moving.weight, minlength=len(world.bundle))[active]
    b = world.bundle[active]
    wrong = np.flatnonzero(np.abs(weight - b.weight) > tolerance * weight)
    found += [f"bundle {active[k]} weighs {b.weight[k]}, not {weight[k]}" for k in wrong.tolist()]
    bound = np.bincount(b.bottleneck[b.bottleneck >= 0], minlength=len(world.link))
    wrong = np.flatnonzero(bound != world.link.bound)
    return found + [f"link {k} has lost count of whom it holds back" for k in wrong.tolist()]
