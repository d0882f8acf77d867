"""Fits of :mod:`mltwin.models.network.nccl` to measured tables, and their errors."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mltwin.models.network.nccl import CollectiveLaw, Layout, Protocol, traffic

from .robust import robust_fit

Array = npt.NDArray[np.float64]
BINS_PER_OCTAVE = 4
HELD = 5
"""One size in so many is held out."""


def binned(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with ``gpus``, ``nodes``, ``size_bytes``, ``seconds`` as medians over quarter octaves
    of the size: repeats of a size and dense tables, whose outliers are many, become one row each.
    Column ``bin`` numbers them."""
    octave = np.rint(np.log2(rows["size_bytes"].astype(float)) * BINS_PER_OCTAVE).astype(int)
    grouped = rows.assign(bin=octave).groupby(["nodes", "gpus", "bin"], as_index=False)
    return grouped[["size_bytes", "seconds"]].median()


def fit_law(rows: pd.DataFrame, kind: str) -> CollectiveLaw:
    """The law and its corrections.

    Args:
        rows: of :func:`binned`, all of them inside a node or all across nodes.
    """
    law = CollectiveLaw(kind, *_fitted(rows, kind))
    n, m, size, seconds = _columns(rows)
    ratio = np.log(seconds / law.law(size, n, m))
    measured: dict[Layout, tuple[Array, Array]] = {}
    for gpus, nodes in sorted({(int(g), int(k)) for g, k in zip(n, m, strict=True)}):
        here = (n == gpus) & (m == nodes)
        measured[gpus, nodes] = (np.log(size[here]), ratio[here])
    return CollectiveLaw(kind, law.protocols, law.rails, measured)


def _columns(rows: pd.DataFrame) -> tuple[Array, Array, Array, Array]:
    n, m, size, seconds = (
        rows[c].to_numpy(float) for c in ("gpus", "nodes", "size_bytes", "seconds")
    )
    return n, m, size, seconds


def _fitted(rows: pd.DataFrame, kind: str) -> tuple[tuple[Protocol, ...], float]:
    """Three lines, started at 1/16, 1/4 and all of the bandwidth of the largest messages."""
    n, m, size, seconds = _columns(rows)
    per_node = n / m
    across = bool((m > 1).any())
    largest = size >= size.max() / 2
    moved = traffic(kind, n, m) * size
    rate = float(np.median((moved / seconds)[largest]))
    least = float(seconds.min())
    steps, links, varied = len(set(per_node)) > 1, len(set(m)) > 1, len(set(n)) > 1
    bounds: dict[str, tuple[float, float, float]] = {}
    for i in range(3):
        slower = 4.0 ** (2 - i)
        bounds[f"a{i}"] = (least / 20, least * 0.7 * (1 + 0.8 * i), least * 20)
        bounds[f"B{i}"] = (rate / slower / 6, rate / slower, rate * 3)
        if steps:
            bounds[f"b{i}"] = (least / 500, least / 5, least * 8)
        if links:
            bounds[f"c{i}"] = (least / 500, least / 5, least * 20)
        if varied and not across:
            bounds[f"M{i}"] = (rate / 20, rate * 2, rate * 1e3)
    if across and steps:
        bounds["e"] = (1e-3, 0.5, 1.0)

    def law_of(p: dict[str, Any]) -> CollectiveLaw:
        lines = tuple(
            Protocol(
                p[f"a{i}"],
                p.get(f"b{i}", 0.0),
                p.get(f"c{i}", 0.0),
                p[f"B{i}"],
                p.get(f"M{i}", np.inf),
            )
            for i in range(3)
        )
        return CollectiveLaw(kind, lines, p.get("e", 0.0))

    found = law_of(robust_fit(lambda p: law_of(p).law(size, n, m), seconds, bounds))
    lines = sorted(found.protocols, key=lambda p: p.base_s)
    return tuple(lines), found.rails


def held_sizes(rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Every fifth row of each layout of :func:`binned` rows, the first and the last apart, which
    cannot be interpolated."""
    place = rows.groupby(["gpus", "nodes"]).cumcount().to_numpy()
    count = rows.groupby(["gpus", "nodes"])["bin"].transform("size").to_numpy()
    return (place % HELD == 2) & (place > 0) & (place < count - 1)


def size_errors(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Errors on sizes that were held out: every fifth, at all numbers of GPUs at once.

    Args:
        rows: as measured; those of a held bin are scored one by one.

    Returns:
        Columns gpus, nodes, size_bytes, error (predicted over measured, less 1).
    """
    table = binned(rows)
    held = held_sizes(table)
    law = fit_law(table[~held].reset_index(drop=True), kind)
    return _errors(law, _of_bins(rows, table[held]))


def count_errors(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Errors on numbers of GPUs that were held out, each in its turn; empty if there are fewer
    than three. Columns as of :func:`size_errors`."""
    layouts = sorted(set(zip(rows["gpus"], rows["nodes"], strict=True)))
    found = []
    for n, m in layouts if len(layouts) >= 3 else ():
        out = (rows["gpus"] == n) & (rows["nodes"] == m)
        found.append(_errors(fit_law(binned(rows[~out]), kind), rows[out]))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=_ERRORS)


_ERRORS = ["gpus", "nodes", "size_bytes", "error"]


def _of_bins(rows: pd.DataFrame, bins: pd.DataFrame) -> pd.DataFrame:
    octave = np.rint(np.log2(rows["size_bytes"].astype(float)) * BINS_PER_OCTAVE).astype(int)
    keys = rows.assign(bin=octave)
    return keys.merge(bins[["nodes", "gpus", "bin"]], on=["nodes", "gpus", "bin"])


def _errors(law: CollectiveLaw, rows: pd.DataFrame) -> pd.DataFrame:
    parts = []
    gpus, nodes = rows["gpus"].to_numpy(int), rows["nodes"].to_numpy(int)
    for n, m in sorted({(int(g), int(k)) for g, k in zip(gpus, nodes, strict=True)}):
        group = rows[(gpus == n) & (nodes == m)]
        told = law.seconds(group["size_bytes"].to_numpy(float), n, m)
        error = told / group["seconds"].to_numpy(float) - 1
        parts.append(group[["gpus", "nodes", "size_bytes"]].assign(error=error))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_ERRORS)
