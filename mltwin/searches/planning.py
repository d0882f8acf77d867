"""The disaggregation planner: how many prefill and decode GPUs does this traffic need, and is it
better to keep the two phases together?

For the scenario's traffic, model, GPU and SLO it finds the smallest colocated cluster (every
replica prefills and decodes) and the smallest disaggregated pair of pools (DistServe, OSDI 2024,
chooses such a pair per placement), then how far the rate could rise on each: goodput per GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltwin.comparison import Runnable, as_scenario
from mltwin.serving import Pool, ServingScenario
from mltwin.sim.errors import InputError
from mltwin.sweeps.clusters import clusters_held
from mltwin.text import Table, show

from .cluster import smallest_cluster
from .costs import dollars_per_hour
from .found import Found, finite, toml_of
from .frontier import Frontier
from .goodput import goodput
from .limits import Limits
from .runs import DEFAULT_SEEDS, Progress
from .smallest import Smallest

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLOCATED, DISAGGREGATED = "colocated", "disaggregated"
_MOST = 32


def plan(
    scenario: Runnable,
    *,
    most: int = _MOST,
    limits: Limits | None = None,
    least: float | None = None,
    cost: str = "gpus",
    frontier: bool = True,
    around: int = 2,
    seeds: int | Sequence[int] = DEFAULT_SEEDS,
    workers: int | None = None,
    backend: str = "threads",
    address: str | None = None,
    store: Any = None,
    progress: Progress | None = None,
) -> "Plan":
    """The smallest colocated and the smallest disaggregated cluster for a scenario's traffic.

    Args:
        scenario: a serving scenario; its pools say on which GPU and with how many of them a
            replica runs (one pool for all, or one for each of prefill and decode), not how many.
        most: replicas of a pool at the utmost.
        limits, least, cost: as `smallest_cluster` has them.
        frontier: also find the highest rate that each answer carries.
        around: pairs of pools within so many steps of the answer are all run, for the map.
        progress: called with (share done, text).

    Raises InputError: no serving scenario, or whatever the searches refuse.
    """
    base = as_scenario(scenario)
    if most < 1:
        raise InputError(f"{most} replicas are none", where="most")
    given: dict[str, Any] = {"seeds": seeds, "workers": workers, "backend": backend}
    given |= {"address": address, "store": store}
    with clusters_held():
        return _planned(base, most, limits, least, cost, frontier, around, given, progress)


def _planned(
    base: Any,
    most: int,
    limits: Limits | None,
    least: float | None,
    cost: str,
    frontier: bool,
    around: int,
    given: dict[str, Any],
    progress: Progress | None,
) -> "Plan":
    """See `plan`; `given` are the options of all searches."""
    tell = progress or (lambda share, text: None)
    found: dict[str, Smallest] = {}
    frontiers: dict[str, Frontier] = {}
    ends = {COLOCATED: (0.0, 0.2), DISAGGREGATED: (0.2, 0.7)}
    for name, cluster in set_ups(base).items():
        begin, end = ends[name]
        found[name] = smallest_cluster(
            base.changed({"cluster": cluster, "name": name}),
            fields={f"cluster.{pool}.replicas": (1, most) for pool in cluster},
            limits=limits,
            least=least,
            cost=cost,
            around=around,
            progress=_part(tell, begin, end, name),
            **given,
        )
    for i, (name, answer) in enumerate(found.items() if frontier and limits is None else ()):
        if answer.reached and base.data()["workload"].get("concurrency") is None:
            frontiers[name] = goodput(
                answer.answer_scenario,
                least=least,
                check=False,
                progress=_part(tell, 0.7 + 0.15 * i, 0.85 + 0.15 * i, f"frontier, {name}"),
                **given,
            )
    tell(1.0, "done")
    return Plan(base, found[COLOCATED], found[DISAGGREGATED], frontiers, cost)


def set_ups(scenario: Any) -> dict[str, dict[str, Any]]:
    """The pools of the two set-ups, of one replica each, from those of a serving scenario.

    Raises InputError for another system, or failures, which name pools of their own.
    """
    if not isinstance(scenario, ServingScenario):
        raise InputError(f"a {scenario.system} scenario has no prefill and decode", where="system")
    if scenario.control.failures:
        raise InputError("name pools", where="control.failures", mend="plan without failures")
    by_role = {scenario.role(name): pool for name, pool in reversed(scenario.cluster.items())}
    first = next(iter(scenario.cluster.values()))

    def one(role: str) -> dict[str, Any]:
        pool: Pool = by_role.get(role) or by_role.get("mixed") or first
        data = pool.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        return {k: v for k, v in data.items() if k not in ("role", "initially_up")} | {
            "replicas": 1
        }

    mixed = by_role.get("mixed") or by_role.get("prefill") or first
    by_role.setdefault("mixed", mixed)
    return {
        COLOCATED: {"mixed": one("mixed")},
        DISAGGREGATED: {"prefill": one("prefill"), "decode": one("decode")},
    }


def _part(tell: Progress, begin: float, end: float, name: str) -> Progress:
    return lambda share, text: tell(begin + (end - begin) * share, f"{name}: {text}")


@dataclass(repr=False)
class Plan(Found):
    """The smallest cluster of each set-up, and how far the rate could rise on it.

    Attributes:
        frontiers: name of the set-up to its goodput frontier, of those that have an answer.
        cost: what was made least.
    """

    scenario: Any
    colocated: Smallest
    disaggregated: Smallest
    frontiers: dict[str, Frontier]
    cost: str
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        said: dict[str, list[str]] = {}
        for name, found in (*self.found.items(), *self.frontiers.items()):
            for note in found.notes:
                said.setdefault(note, [])
                said[note] += [name] if name not in said[note] else []
        self.notes += [
            note if len(names) == len(self.found) else f"{names[0]}: {note}"
            for note, names in said.items()
        ]

    @property
    def found(self) -> dict[str, Smallest]:
        """Name of the set-up to what was found."""
        return {COLOCATED: self.colocated, DISAGGREGATED: self.disaggregated}

    @property
    def title(self) -> str:
        """`Prefill and decode GPUs for NAME`."""
        return f"Prefill and decode GPUs for {self.scenario.label}"

    @property
    def reached(self) -> bool:
        """Whether any set-up keeps the limits."""
        return any(found.reached for found in self.found.values())

    @property
    def best(self) -> str | None:
        """The cheaper set-up; where both cost the same, the one that carries the higher rate."""
        known = {name: found for name, found in self.found.items() if found.reached}
        if not known:
            return None

        def worth(name: str) -> tuple[float, float]:
            frontier = self.frontiers.get(name)
            return known[name].cost or 0.0, -((frontier.rate if frontier else None) or 0.0)

        return min(known, key=worth)

    def answer(self) -> list[str]:
        """Which set-up and how large, against the other."""
        from .costs import unit_of

        if self.best is None:
            return [f"{name.title()}: {found.answer()[0]}" for name, found in self.found.items()]
        best, other = self.found[self.best], self.found[_other(self.best)]
        unit = unit_of(self.cost)
        lines = [
            f"{self.best.title()}: {self._pools(self.best)} = {show(best.cost)} {unit} "
            f"keep {_promise(best)}."
        ]
        if not other.reached:
            lines.append(f"{_other(self.best).title()} does not: {other.answer()[0]}")
        else:
            assert best.cost is not None and other.cost is not None
            saved = other.cost - best.cost
            saved_unit = unit.removesuffix("s") if saved == 1 else unit
            than = (
                f"{_other(self.best)} needs {show(other.cost)} ({self._pools(_other(self.best))})"
            )
            lines.append(
                f"That saves {show(saved)} {saved_unit} ({100 * saved / other.cost:.0f} %): {than}."
                if saved > 0
                else f"Neither saves {unit}: {than}."
            )
        for name, frontier in self.frontiers.items():
            if frontier.rate is not None:
                per_gpu = f", {show(frontier.rate_per_gpu)} per GPU" if frontier.gpus else ""
                lines.append(
                    f"The {name} cluster carries up to {show(frontier.rate)} requests/s{per_gpu}."
                )
        return lines

    def _pools(self, name: str) -> str:
        """`3 prefill (tp 4) + 1 decode (tp 4)`."""
        values = self.found[name].values
        parts = []
        for path, count in values.items():
            pool = self.found[name].scenario.cluster[path.split(".")[1]]  # type: ignore[attr-defined]
            ways = [f"{k} {getattr(pool, k)}" for k in ("tp", "pp", "dp") if getattr(pool, k) > 1]
            kind = "replicas" if len(values) == 1 else path.split(".")[1]
            parts.append(f"{count} {kind}{' (' + ', '.join(ways) + ')' if ways else ''}")
        return " + ".join(parts)

    def table(self) -> Table:
        """One row a set-up: its size, what it costs, how it does, how far it reaches."""
        names = list(self.found)
        rows: list[list[Any]] = [[name, *self.figures(name).values()] for name in names]
        best = {(names.index(self.best), 0)} if self.best is not None else set()
        columns = ["set-up", *self.figures(COLOCATED)]
        chosen = [0, *(j for j in range(1, len(columns)) if any(r[j] is not None for r in rows))]
        return Table(
            [columns[j] for j in chosen],
            [[row[j] for j in chosen] for row in rows],
            title=self.title,
            caption=f"the smallest that keep {self.colocated.limits_text}",
            best=best,
        )

    def figures(self, name: str) -> dict[str, Any]:
        """The figures of a set-up by column; None where it has none."""
        found, frontier = self.found[name], self.frontiers.get(name)
        at = found.best
        mean = (lambda m: None) if at is None else at.mean
        chosen: Any = found.answer_scenario if found.reached else None
        return {
            "cluster": self._pools(name) if found.reached else "-",
            "GPUs": None if chosen is None else chosen.gpus,
            "$ an hour": None if chosen is None else _price(chosen),
            "slo_attainment": mean("slo_attainment"),
            "p99_ttft_ms": mean("p99_ttft_ms"),
            "p99_tpot_ms": mean("p99_tpot_ms"),
            "$ per million tokens": mean("dollars_per_million_tokens"),
            "highest requests/s": None if frontier is None else frontier.rate,
            "per GPU": None if frontier is None else frontier.rate_per_gpu,
        }

    def tables(self) -> list[Table]:
        """The two side by side, then what was tried of each."""
        first, second = self.colocated.table(), self.disaggregated.table()
        first.title, second.title = "Colocated: tried", "Disaggregated: tried"
        return [self.table(), first, second]

    def frame(self) -> "pd.DataFrame":
        """One row a run of either search, with its set-up."""
        import pandas as pd

        parts = [found.frame() for found in self.found.values()]
        for part, name in zip(parts, self.found, strict=True):
            part.insert(0, "set_up", name)
        return pd.concat(parts, ignore_index=True)

    def data(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "kind": "plan",
            "best": self.best,
            "answer": self.answer(),
            "notes": self.notes,
            "figures": {
                name: {
                    k: v if isinstance(v, str) else finite(v) for k, v in self.figures(name).items()
                }
                for name in self.found
            },
            "set_ups": {name: found.data() for name, found in self.found.items()},
            "frontiers": {name: found.data() for name, found in self.frontiers.items()},
            "scenario": self.scenario.data(full=False),
        }

    def figure(self) -> "Figure":
        """The map of pairs of pools."""
        return self.disaggregated.figure()

    def pictures(self) -> list[tuple["Figure", str]]:
        """The map of pairs, the colocated clusters, and both frontiers."""
        parts: list[Found] = [self.disaggregated, self.colocated, *self.frontiers.values()]
        return [(part.figure(), part.title) for part in parts]

    def reproduce(self) -> str:
        """The scenario with the cheaper cluster."""
        chosen = self.scenario if self.best is None else self.found[self.best].answer_scenario
        return toml_of(chosen)


def _promise(found: Smallest) -> str:
    """`90 % of the requests within the SLO`, or the limits as they are."""
    limit = found.limits[0]
    if len(found.limits) > 1 or limit.metric != "slo_attainment":
        return found.limits_text
    return f"{100 * limit.bound:g} % of the requests within the SLO"


def _other(name: str) -> str:
    return COLOCATED if name == DISAGGREGATED else DISAGGREGATED


def _price(scenario: ServingScenario) -> float | None:
    """Dollars an hour, where every pool has a price."""
    if any(pool.dollars_per_gpu_hour is None for pool in scenario.cluster.values()):
        return None
    return dollars_per_hour(scenario)
