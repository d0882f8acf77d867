"""Plans of a training job, ranked, as tables. The search: `mltwin.models.training.search`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mltwin.models.training.memory import GIB
from mltwin.models.training.search import search_plans

from .text import Table

if TYPE_CHECKING:
    from mltwin.models.training.search import PlanSearch

__all__ = ["plan_rows", "plan_table", "plans_data", "refused_table", "search_plans", "table_of"]


def plan_rows(found: "PlanSearch", most: int = 20) -> list[dict[str, Any]]:
    """The fastest plans as plain rows."""
    rows = []
    for one in found.found[:most]:
        plan = one.plan
        rows.append(
            {
                "plan": plan.describe(),
                "dp": plan.dp,
                "tp": plan.tp,
                "pp": plan.pp,
                "cp": plan.cp,
                "ep": plan.ep,
                "zero": plan.zero,
                "schedule": plan.schedule if plan.pp > 1 else "",
                "interleave": plan.interleave,
                "microbatch": one.batch.sequences,
                "microbatches": plan.microbatches,
                "recompute": plan.recompute,
                "tokens_per_s": one.tokens_per_s,
                "step_s": one.seconds,
                "mfu": one.mfu,
                "memory_gib": one.memory.total / GIB,
            }
        )
    return rows


def plans_data(found: "PlanSearch", most: int = 20) -> dict[str, Any]:
    """The fastest plans as plain rows (`plans`), how many fit, how many were refused for what.

    Raises InputError: no plan fits.
    """
    _ = found.best
    return {
        "plans": plan_rows(found, most),
        "fit": len(found.found),
        "refused": dict(found.refused),
    }


def plan_table(found: "PlanSearch", most: int = 20) -> Table:
    """The fastest plans as a table; the caption says how many fitted.

    Raises InputError: no plan fits.
    """
    return table_of(plans_data(found, most))


def table_of(data: Mapping[str, Any]) -> Table:
    """The table of what `plans_data` gave."""
    heads = ["plan", "micro-batch", "tokens/s", "step (s)", "MFU (%)", "memory (GiB)"]
    cells: list[list[Any]] = [
        [row["plan"], row["microbatch"], row["tokens_per_s"], row["step_s"], 100 * row["mfu"],
         row["memory_gib"]]
        for row in data["plans"]
    ]  # fmt: skip
    refused = ", ".join(f"{n:,} for {reason}" for reason, n in sorted(data["refused"].items()))
    caption = f"{data['fit']:,} plans fit" + (f"; refused: {refused}" if refused else "")
    return Table(heads, cells, title="Plans, fastest first", caption=caption, best={(0, 2)})


def refused_table(found: "PlanSearch", most: int = 10) -> Table:
    """Some of the plans that were refused, and why."""
    rows: list[list[Any]] = [
        [", ".join(f"{k} {v}" for k, v in one.changes.items()), one.reason, one.why]
        for one in found.rejected[:most]
    ]
    return Table(["plan", "reason", "why"], rows, title="Refused")
