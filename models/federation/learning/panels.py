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

from .lanes import first, load, splat, store

BLOCK = 40
"""Samples at a time, a multiple of ten."""

COLUMNS = 10
INPUTS, UNITS, PANELS, START, VALUES, ERRORS, LENGTH, ROOM, LAYERS, PARAMETERS = range(COLUMNS)
"""Columns of the table of layers: inputs, units, panels, where the parameters start in panels,
where values and errors start in the room of a block; the same in all rows: parameters in panels,
float32 numbers in that room, layers, parameters.
"""

LOSSES, TOTALS, TURNED = 0, 48, 96
"""Where in the room of a block: losses and sums of samples, which are worked on sixteen at a time,
transposed weights of a layer."""


def layer_table(sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """int64[L, COLUMNS] for layers of `sizes`: inputs of the first, then units of each."""
    pairs = list(itertools.pairwise(sizes))
    turned = [-(-inputs // 16) * 16 * (units + 1) for inputs, units in pairs[1:]]
    rows, start, natural, place = [], 0, 0, TURNED + max(turned, default=0)
    for inputs, units in pairs:
        panels = -(-units // 16)
        size = BLOCK * panels * 16
        rows.append([inputs, units, panels, start, place, place + size])
        start += (inputs + 1) * panels * 16
        natural += (inputs + 1) * units
        place += 2 * size
    return np.array([[*row, start, place, len(rows), natural] for row in rows], np.int64)


@handler(forceinline=True)
def of(layers: Any, layer: int, column: int) -> int:
    """A number of the table of layers."""
    return layers[layer * COLUMNS + column]


@handler
def to_panels(layers: Any, natural: Any, panels: Any) -> None:
    """Lay parameters out in panels."""
    source = 0
    for layer in range(of(layers, 0, LAYERS)):
        rows, units = of(layers, layer, INPUTS) + 1, of(layers, layer, UNITS)
        count, start = of(layers, layer, PANELS), of(layers, layer, START)
        last, whole = (count - 1) * 16, _whole(rows, units, count)
        for f in range(whole):
            place = start + f * 16
            for unit in range(0, last, 16):
                store(panels, place + unit * rows, load(natural, source + unit))
            lanes = first(load(natural, source + last), units - last, np.float32(0))
            store(panels, place + last * rows, lanes)
            source += units
        for f in range(whole, rows):
            for unit in range(units):
                panels[start + (unit // 16 * rows + f) * 16 + unit % 16] = natural[source + unit]
            source += units


@handler
def difference(layers: Any, after: Any, before: Any, out: Any) -> None:
    """after - before of parameters in panels, in the natural order.

    All lanes of a panel are stored: what is beyond its units is overwritten by what comes next.
    """
    target = 0
    for layer in range(of(layers, 0, LAYERS)):
        rows, units = of(layers, layer, INPUTS) + 1, of(layers, layer, UNITS)
        count, start = of(layers, layer, PANELS), of(layers, layer, START)
        whole = _whole(rows, units, count)
        for f in range(whole):
            for panel in range(count):
                place = start + (panel * rows + f) * 16
                store(out, target + panel * 16, load(after, place) - load(before, place))
            target += units
        for f in range(whole, rows):
            for unit in range(units):
                place = start + (unit // 16 * rows + f) * 16 + unit % 16
                out[target + unit] = after[place] - before[place]
            target += units


@handler(forceinline=True)
def _whole(rows: int, units: int, panels: int) -> int:
    """Rows of a layer of which all lanes, read in the natural order, are within the layer."""
    return max(0, rows - (panels * 16 - 1) // units)


@handler
def copy(source: Any, target: Any, length: int) -> None:
    """target[:length] = source[:length], a multiple of 16."""
    for place in range(0, length, 16):
        store(target, place, load(source, place))


@handler
def clear(values: Any, length: int) -> None:
    """values[:length] = 0, a multiple of 16."""
    for place in range(0, length, 16):
        store(values, place, splat(np.float32(0)))
