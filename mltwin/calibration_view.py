"""What a GPU profile is, how well it was fitted, and how far it can be trusted: plain frames."""

from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from mltwin.models.gpu.profile import GpuProfile, load_profile, profile_names

from .text import Table, show

if TYPE_CHECKING:
    import pandas as pd

FAMILIES = {
    "gemm": "matrix products",
    "decode": "attention, decode",
    "prefill": "attention, prefill",
    "moe": "experts",
    "elementwise": "element-wise",
    "all_reduce": "collectives",
    "nccl": "collectives",
    "mixed": "attention, mixed",
    "power": "power",
}


@cache
def profiles() -> tuple[str, ...]:
    """Names of the shipped profiles."""
    return tuple(profile_names())


@cache
def profile(name: str) -> GpuProfile:
    """A shipped profile.

    Raises InputError for a name that there is not.
    """
    return load_profile(name)


def errors_frame(name: str) -> "pd.DataFrame":
    """One row an operator: family, operator, median_pct, p95_pct, bias_pct, sigma_pct, rows,
    held_rows, software, method, valid, file.

    Errors are relative, on the rows held out of the fit. sigma_pct: spread of the error that one
    shape keeps, from which error bars are drawn.
    """
    import pandas as pd

    rows = [
        {
            "family": FAMILIES.get(p.operator.split(".")[0], "other"),
            "operator": p.operator,
            "median_pct": 100 * p.median,
            "p95_pct": 100 * p.p95,
            "bias_pct": 100 * p.bias,
            "sigma_pct": 100 * p.sigma,
            "rows": p.rows,
            "held_rows": p.held_rows,
            "software": p.software,
            "method": p.method,
            "valid": "; ".join(
                f"{size} {show(low)} to {show(high)}" for size, (low, high) in p.valid.items()
            ),
            "file": p.file,
        }
        for p in profile(name).provenance
    ]
    columns = ["family", "operator", "median_pct", "p95_pct", "bias_pct", "sigma_pct", "rows"]
    columns += ["held_rows", "software", "method", "valid", "file"]
    return pd.DataFrame(rows, columns=columns)


def overview_frame() -> "pd.DataFrame":
    """Median held-out error (mean over operators, in %) by profile and family."""
    import pandas as pd

    parts = [errors_frame(name).assign(gpu=name) for name in profiles()]
    joined = pd.concat([part for part in parts if not part.empty], ignore_index=True)
    grouped = joined.groupby(["gpu", "family"], sort=False)[["median_pct", "p95_pct"]].mean()
    return grouped.reset_index()


def facts_table(name: str) -> Table:
    """Data sheet, power and host of a profile, with where each comes from."""
    found = profile(name)
    rows: list[list[Any]] = [["engine", "its kernels were timed with", found.engine]]
    for part, values in (("GPU", found.facts), ("power", found.power), ("host", found.host)):
        for key, value in asdict(values).items():
            if isinstance(value, dict):
                rows += [[part, f"{key} {k}", show(v)] for k, v in value.items()]
            else:
                rows.append([part, key, value if isinstance(value, str) else show(value)])
    return Table(["of", "what", "value"], rows, title=name)


def assumptions(name: str) -> list[str]:
    """What of a profile was assumed rather than measured, one sentence each."""
    found = profile(name)
    said = []
    if "assumed" in found.host.basis or "not measured" in found.host.basis:
        said.append(f"Host time: {found.host.basis}.")
    missing = [k for k, v in asdict(found.power).items() if v is None]
    if missing:
        said.append(f"Power: {', '.join(missing)} unknown; energy that needs it is not told.")
    moved = [p for p in found.provenance if p.method.startswith("taken from")]
    if moved:
        said.append(
            f"{len(moved)} of {len(found.provenance)} operators were taken from another GPU and "
            "scaled: their errors are those of the original, which is too little."
        )
    return said
