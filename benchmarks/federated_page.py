"""The figures of `benchmarks/results/federated.json` in `docs/benchmarks.md`.

`python -m benchmarks.federated_page` writes them there: the last column of each row whose key was
measured, and the table of the size sweep.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from .cases import ROOT
from .federated import WAYS

RESULTS = ROOT / "benchmarks" / "results" / "federated.json"
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- size_sweep -->\n", "<!-- end of size_sweep -->\n"
ENDS = "size_sweep_advantage_ends_at"
_HEADS = {"numpy": "NumPy", "torch_loop": "PyTorch", "torch_vmap": "vmap", "flower": "Flower"}


def number(value: float) -> str:
    """Whole above 100, else three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def sweep_table(rows: list[Mapping[str, Any]]) -> str:
    """Markdown: a row a model, client rounds a second by way, the best other one, the ratio."""
    ways = [way for way in WAYS if any(row.get(way) for row in rows)]
    heads = ["model", "parameters", "mltwin", *(_HEADS[way] for way in ways), "ours / best other"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        others = [row[way] for way in WAYS if row.get(way)]
        shown = [number(row[way]) if row.get(way) else "-" for way in ways]
        ratio = f"{row['mltwin'] / max(others):.2g}" if others else "-"
        name = f"{row['model'].split()[0]} {'-'.join(map(str, row['sizes']))}"
        lines.append([name, f"{row['parameters']:,}", number(row["mltwin"]), *shown, ratio])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def filled(page: str, results: Mapping[str, Any]) -> str:
    """The page with the measured figures."""
    figures = {key: number(value) for key, value in results["figures"].items()}
    if "size_sweep" in results:
        figures.setdefault(ENDS, "at none of them")
    for key, value in figures.items():
        row = rf"^(\| `{key}` \|.*\|)[^|\n]*\|$"
        page = re.sub(row, rf"\g<1> {value} |", page, flags=re.MULTILINE)
    if "size_sweep" in results and BEGIN in page:
        head, rest = page.split(BEGIN, 1)
        tail = rest.split(END, 1)[1]
        page = head + BEGIN + sweep_table(results["size_sweep"]) + END + tail
    return page


if __name__ == "__main__":
    written = filled(PAGE.read_text("utf-8"), json.loads(RESULTS.read_text("utf-8")))
    PAGE.write_text(written, "utf-8")
