"""How kernels lay out the parameters of dense layers, and the room that a block of samples takes.

Parameters stand in panels: a panel holds the [inputs + 1, 16] weights and biases of 16 units, one
row after another, so that a kernel walks through memory as it is stored; panels of a layer, then
layers, follow one another. Units that fill up the last panel are 0 everywhere. The values and
errors of a layer are [samples, panels * 16].
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.jit import handler

from .lanes import first, load, store

BLOCK = 40
"""Samples at a time, a multiple of five."""

INPUTS, UNITS, PANELS, START, NATURAL, VALUES, ERRORS, LENGTH, ROOM = range(9)
"""Columns of the table of layers: inputs, units, panels, where the parameters start in panels and
in the natural order, where values and errors start in the room of a block; the same in all rows:
parameters in panels, float32 numbers in that room.
"""

LOSSES, TOTALS, TURNED = 0, BLOCK, 2 * BLOCK
"""Where in the room of a block: losses and sums of samples, transposed weights of a layer."""


def layer_table(sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """int64[L, 9] for layers of `sizes`: inputs of the first, then units of each."""
    pairs = list(itertools.pairwise(sizes))
    turned = [-(-inputs // 16) * 16 * (units + 1) for inputs, units in pairs[1:]]
    rows, start, natural, place = [], 0, 0, TURNED + max(turned, default=0)
    for inputs, units in pairs:
        panels = -(-units // 16)
        size = BLOCK * panels * 16
        rows.append([inputs, units, panels, start, natural, place, place + size])
        start += (inputs + 1) * panels * 16
        natural += (inputs + 1) * units
        place += 2 * size
    return np.array([[*row, start, place] for row in rows], np.int64)


@handler
def to_panels(layers: Any, natural: Any, panels: Any) -> None:
    """Lay parameters out in panels."""
    for layer in range(len(layers)):
        rows, units, count = layers[layer, INPUTS] + 1, layers[layer, UNITS], layers[layer, PANELS]
        start, natural_start = layers[layer, START], layers[layer, NATURAL]
        for f in range(rows):
            for panel in range(count):
                source = natural_start + f * units + panel * 16
                place = start + (panel * rows + f) * 16
                here = min(16, units - panel * 16)
                if source + 16 <= len(natural):
                    store(panels, place, first(load(natural, source), here, np.float32(0)))
                else:
                    for k in range(here):
                        panels[place + k] = natural[source + k]


@handler
def difference(layers: Any, after: Any, before: Any, out: Any) -> None:
    """after - before of parameters in panels, in the natural order.

    All lanes of a panel are stored: what is beyond its units is overwritten by what comes next.
    """
    for layer in range(len(layers)):
        rows, units, count = layers[layer, INPUTS] + 1, layers[layer, UNITS], layers[layer, PANELS]
        start, natural_start = layers[layer, START], layers[layer, NATURAL]
        for f in range(rows):
            for panel in range(count):
                target = natural_start + f * units + panel * 16
                place = start + (panel * rows + f) * 16
                if target + 16 <= len(out):
                    store(out, target, load(after, place) - load(before, place))
                else:
                    for k in range(min(16, units - panel * 16)):
                        out[target + k] = after[place + k] - before[place + k]


@handler
def copy(source: Any, target: Any) -> None:
    """target = source, both in panels. (Numba's slices take ten times as long.)"""
    for place in range(0, len(source), 16):
        store(target, place, load(source, place))
