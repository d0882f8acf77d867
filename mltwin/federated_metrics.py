"""Metrics of a federated run from its tables: learning, staleness, work, costs, fairness.

A metric without a value is left out: `time_to_accuracy_s` where the target was never reached,
accuracies where only time is simulated.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mltwin.models.federation.tables import TICKS_PER_S

from .federated_aggregation import aggregation_metrics, aggregation_notes
from .metrics import exact_sum
from .result import Columns

GB = 1e9
JOULES_PER_KWH = 3.6e6
RISING = ("accuracy", "auc")
"""Metrics of a model of which more is better."""
_TARGET = "The target,"


def metrics_of(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> dict[str, float]:
    """All metrics of a run."""
    evaluations, clients = tables["evaluations"], tables["clients"]
    return {
        **_progress(facts),
        **_model(evaluations),
        **reached(evaluations, facts),
        **_staleness(tables["staleness"]),
        **_work(clients, facts["totals"]),
        **_costs(evaluations, clients, facts),
        **aggregation_metrics(tables, facts),
        **_participation(clients),
        **_fairness(clients),
    }


def _progress(facts: Mapping[str, Any]) -> dict[str, float]:
    seconds = facts["end"] / TICKS_PER_S
    totals = facts["totals"]
    found = {
        "duration_s": seconds,
        "versions": float(facts["versions"]),
        "updates": float(totals["arrived"]),
    }
    if seconds > 0:
        found["updates_per_s"] = totals["arrived"] / seconds
    return found


def model_metrics(evaluations: Columns) -> list[str]:
    """Names of what a model was evaluated by."""
    usual = {"version", "time_s", "updates", "down_bytes", "up_bytes", "joules", "wasted_s"}
    return [name for name in evaluations if name not in usual]


def _model(evaluations: Columns) -> dict[str, float]:
    """The last and the best value of each metric of the model."""
    found = {}
    for name in model_metrics(evaluations):
        values = np.asarray(evaluations[name], float)
        known = values[np.isfinite(values)]
        if len(values) and np.isfinite(values[-1]):
            found[f"final_{name}"] = float(values[-1])
        if len(known) and (name in RISING or name == "loss"):
            found[f"best_{name}"] = float(known.max() if name in RISING else known.min())
    return found


def reached(evaluations: Columns, facts: Mapping[str, Any]) -> dict[str, float]:
    """What it took to the first evaluation at or beyond each target; {} where none was."""
    found: dict[str, float] = {}
    for name, target in facts["targets"].items():
        row = first_beyond(evaluations, name, target)
        if row is None:
            continue
        found |= {
            f"time_to_{name}_s": float(evaluations["time_s"][row]),
            f"rounds_to_{name}": float(evaluations["version"][row]),
            f"updates_to_{name}": float(evaluations["updates"][row]),
            f"bytes_to_{name}": float(
                evaluations["down_bytes"][row] + evaluations["up_bytes"][row]
            ),
            f"joules_to_{name}": float(evaluations["joules"][row]),
        }
    return found


def first_beyond(evaluations: Columns, name: str, target: float) -> int | None:
    """The first row at which a metric of the model is as good as a target."""
    if name not in evaluations:
        return None
    values = np.asarray(evaluations[name], float)
    rows = np.flatnonzero(values >= target if name in RISING else values <= target)
    return int(rows[0]) if len(rows) else None


def _staleness(table: Columns) -> dict[str, float]:
    counts, staleness = table["updates"], table["staleness"]
    total = int(counts.sum())
    if total == 0:
        return {}
    return {
        "mean_staleness": float((counts * staleness).sum()) / total,
        "max_staleness": float(staleness[np.flatnonzero(counts)[-1]]),
    }


def _work(clients: Columns, totals: Mapping[str, int]) -> dict[str, float]:
    """Seconds and bytes of clients, and what of it was in vain."""
    parts = [exact_sum(clients[f"{name}_ticks"]) for name in ("compute", "send", "receive")]
    spent, wasted = sum(parts), exact_sum(clients["wasted_ticks"])
    found = {
        "client_hours": spent / TICKS_PER_S / 3600,
        "down_gb": exact_sum(clients["down_bytes"]) / GB,
        "up_gb": exact_sum(clients["up_bytes"]) / GB,
    }
    if spent:
        found["wasted_share"] = wasted / spent
    if totals["dispatched"]:
        found["lost_share"] = (totals["lost"] + totals["cancelled"]) / totals["dispatched"]
    if totals["arrived"]:
        found["unused_updates_share"] = totals["discarded"] / totals["arrived"]
    return found


def _costs(evaluations: Columns, clients: Columns, facts: Mapping[str, Any]) -> dict[str, float]:
    """Energy of clients and servers, dollars of the server's side.

    Energy of clients is what they spend above idle; servers draw their watts all the time.
    """
    prices = facts["costs"]
    hours = facts["end"] / TICKS_PER_S / 3600
    joules = float(evaluations["joules"][-1]) if len(evaluations["joules"]) else 0.0
    server_kwh = prices["servers"] * prices["server_w"] * hours / 1000
    client_kwh = joules / JOULES_PER_KWH
    down = exact_sum(clients["down_bytes"]) / GB
    up = exact_sum(clients["up_bytes"]) / GB
    dollars = (
        prices["servers"] * prices["dollars_per_server_hour"] * hours
        + down * prices["dollars_per_gb_down"]
        + up * prices["dollars_per_gb_up"]
        + server_kwh * prices["dollars_per_kwh"]
        + client_kwh * prices["dollars_per_client_kwh"]
        + facts.get("aggregation", {}).get("dollars", 0.0)
    )
    found = {"client_kwh": client_kwh, "kwh": client_kwh + server_kwh, "dollars": dollars}
    if facts.get("server_gb") is not None:
        found["server_gb"] = float(facts["server_gb"])
    return found


def _participation(clients: Columns) -> dict[str, float]:
    """Jain's index of used updates over clients (1: all the same, 1/N: one client only; Jain, Chiu
    and Hawe, DEC-TR-301, 1984), and the share of clients of which nothing was ever used."""
    used = np.asarray(clients["used"], float)
    found = {"unused_clients_share": float(np.mean(used == 0))}
    if used.any():
        found["participation_jain"] = float(used.sum() ** 2 / (len(used) * (used**2).sum()))
    return found


def _fairness(clients: Columns) -> dict[str, float]:
    """Spread of the last model's accuracy over clients, and its mean over the worst tenth."""
    if "accuracy" not in clients:
        return {}
    values = np.asarray(clients["accuracy"], float)
    known = np.sort(values[np.isfinite(values)])
    if not len(known):
        return {}
    worst = known[: max(1, len(known) // 10)]
    return {
        "client_accuracy_std": float(known.std()),
        "client_accuracy_worst_tenth": float(worst.mean()),
    }


def notes_of(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> list[str]:
    """What was assumed; why the run ended, if not as planned; targets that were not reached."""
    found = [*facts["remarks"], *aggregation_notes(facts), *_run_notes(facts.get("run", {}))]
    if not facts["complete"]:
        found.append(f"The run ended early: {facts['ended']}.")
    for name, target in facts["targets"].items():
        if first_beyond(tables["evaluations"], name, target) is None:
            found.append(f"{_TARGET} {name} {target:g}, was not reached.")
    return found


def is_of_target(note: str) -> bool:
    """Whether a note of a run says that a target was not reached."""
    return _TARGET in note


def _run_notes(said: Mapping[str, Any]) -> list[str]:
    """What the server or its strategy tells of a run."""
    found = []
    if said.get("inversion_left_at", -1) >= 0:
        found.append(f"Updates were inverted until version {said['inversion_left_at']}.")
    filled = said.get("latencies", {})
    if filled.get("mirrored") or filled.get("median"):
        found.append(
            f"Latencies that {filled['source']} lacks: {filled['mirrored']} taken from the way "
            f"back, {filled['median']} from the median of all."
        )
    return found


def violations_of(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> list[str]:
    """Laws that the run broke; a healthy run gives none.

    dispatched = arrived + lost + cancelled + in flight, and the clients' columns add up to that.
    """
    found = list(facts["broken"])
    totals, clients = facts["totals"], tables["clients"]
    ends = ("arrived", "lost", "cancelled", "in_flight")
    accounted = sum(totals[name] for name in ends)
    if totals["dispatched"] != accounted:
        found.append(f"{totals['dispatched']} dispatches, of which {accounted} are accounted for")
    for column in ("arrived", "used", "lost", "cancelled", "discarded"):
        mine = exact_sum(clients[column])
        if mine != totals[column]:
            found.append(f"{mine} {column} of clients, {totals[column]} in all")
    return found
