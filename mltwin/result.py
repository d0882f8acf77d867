"""`Result`: what a run of any system leaves. Metrics, tables, notes; stored and read back whole.

A system gives metrics (flat names to numbers) and tables (names to columns of numbers). What
prints, compares, stores and plots results knows only these.
"""

import json
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from mltwin.sim.errors import InputError

from .metrics import plain
from .text import Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mltwin.sim.runspec import RunSpec

    from .samples import Sample
    from .scenario import Scenario
    from .timelines.timeline import Timeline
    from .uncertainty import ErrorBars

Columns = Mapping[str, np.ndarray]


class Result:
    """A finished run.

    Attributes:
        metrics: flat name to number, the same for equal runs.
        tables: name to columns (arrays of equal length).
        facts: what the metrics were made with (JSON data).
        notes: things worth knowing about the run, one sentence each.
        violations: conservation laws that it broke; a healthy run has none.
        scenario, seed: what was run; set by `Scenario.run`.
        trace_sha256: of the workload's content, "" without one.
    """

    headline: tuple[str, ...] = ()
    """Metrics that comparisons show first; none given: all."""
    timeline_options: ClassVar[Mapping[str, Any]] = {}
    """Options of a run that keep what `timeline` needs, so that it is not run twice."""
    kept_or_not: ClassVar[frozenset[str]] = frozenset()
    """Tables that a run has only when asked for (logs): the digest is not over them."""

    def __init__(
        self,
        metrics: Mapping[str, float],
        tables: Mapping[str, Columns] | None = None,
        *,
        facts: Mapping[str, Any] | None = None,
        notes: Iterable[str] = (),
        violations: Iterable[str] = (),
        trace_sha256: str = "",
    ) -> None:
        self.metrics = {name: plain(value) for name, value in metrics.items()}
        self.tables = {name: dict(columns) for name, columns in (tables or {}).items()}
        self.facts = dict(facts or {})
        self.notes = list(notes)
        self.violations = list(violations)
        self.trace_sha256 = trace_sha256
        self.scenario: Scenario | None = None
        self.seed = 0
        self._bars: tuple[Columns, ErrorBars] | None = None
        self._stored_spec: RunSpec | None = None

    def summary(self) -> dict[str, Any]:
        """The metrics, grouped where the system groups them."""
        return self.with_bars(dict(self.metrics))

    @property
    def error_bars(self) -> "ErrorBars | None":
        """The metrics under draws of the models' fitted parameters, if the run has any."""
        from .uncertainty import TABLE, ErrorBars

        columns = self.tables.get(TABLE)
        if columns is None:
            return None
        if self._bars is None or self._bars[0] is not columns:
            self._bars = columns, ErrorBars.of_columns(columns)
        return self._bars[1]

    def with_bars(self, summary: dict[str, Any]) -> dict[str, Any]:
        """A summary with the intervals of its metrics under `error_bars`, if the run has any."""
        bars = self.error_bars
        return summary if bars is None else summary | {"error_bars": bars.data()}

    def table(self) -> Table:
        """The metrics as a table to print."""
        rows: list[list[Any]] = [[name, value] for name, value in self.metrics.items()]
        table = Table(["metric", "value"], rows, title=self.label)
        return table if self.error_bars is None else self.error_bars.beside(table)

    def report(self) -> list[Table]:
        """All tables that the command line prints; systems add theirs."""
        return [self.table()]

    def frame(self, name: str) -> "pd.DataFrame":
        """A table as a data frame.

        Raises InputError for a name that the run has no table of.
        """
        import pandas as pd

        if name not in self.tables:
            raise InputError(f"no table {name!r}", mend=f"there are {sorted(self.tables)}")
        return pd.DataFrame(self.tables[name])

    def samples(self) -> dict[str, "Sample"]:
        """Quantities to look at value by value (`mltwin.samples`); by default every column.

        Systems name theirs: a latency of each request, with its instant and limit.
        """
        from .samples import table_samples

        return table_samples(self)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """The distribution of each column of the first table; saved if a path is given."""
        from .plots import plot_columns, save_figure

        columns = next(iter(self.tables.values()), {k: [v] for k, v in self.metrics.items()})
        return save_figure(plot_columns(columns, self.label), path)

    def timeline(
        self,
        *,
        window_s: "tuple[float, float] | None" = None,
        requests: int = 500,
        seed: int = 0,
    ) -> "Timeline":
        """What happened where and when, for Perfetto and the replay view; systems fill this.

        Args:
            window_s: only what touches these seconds of the run, from and to; None: all of it.
            requests: how many requests (jobs, clients: whatever the system follows) to show.
            seed: of the draw of those.

        Raises InputError where the system keeps no timeline.
        """
        system = self.scenario.system if self.scenario else ""
        raise InputError(
            f"a {system or type(self).__name__} run has no timeline",
            where=self.label,
            mend="fill `timeline` in the system's result class",
        )

    @property
    def label(self) -> str:
        """What to call the run in tables and plots."""
        return self.scenario.label if self.scenario else "run"

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over everything the run did: equal runs have equal digests."""
        from mltwin.sim.runspec import array_digest, content_hash

        tables = {
            table: {name: array_digest(np.asarray(column)) for name, column in columns.items()}
            for table, columns in self.tables.items()
            if table != "error_bars"  # they say how sure the run is, not what it did
            and table not in self.kept_or_not
        }
        return content_hash({"tables": tables, "metrics": self.metrics if not tables else {}})

    @property
    def spec(self) -> "RunSpec":
        """All that the result depends on: scenario, seed, workload, code, versions.

        Of a run read back: as it was stored.
        """
        if self._stored_spec is not None:
            return self._stored_spec
        from importlib.metadata import version

        from mltwin import __version__
        from mltwin.sim.cachedir import kernel_hash
        from mltwin.sim.runspec import RunSpec

        versions = {name: version(name) for name in ("numpy", "numba")}
        scenario = self.scenario.data() if self.scenario else {}
        return RunSpec(
            scenario=scenario,
            seed=self.seed,
            trace_sha256=self.trace_sha256,
            kernel_hash=kernel_hash(),
            versions={"mltwin": __version__, **versions, **self.facts.get("sources", {})},
        )

    def flat_metrics(self) -> dict[str, float]:
        """The metrics, for experiment trackers."""
        return dict(self.metrics)

    def params(self) -> dict[str, Any]:
        """The scenario as flat dotted names, for experiment trackers."""
        return dict(_flatten(self.scenario.data() if self.scenario else {}))

    def report_html(self, path: str | Path) -> Path:
        """Write one self-contained HTML page about the run; its path.

        Raises InputError where it cannot be written.
        """
        from .reports.compared import result_report

        return result_report(self).save(path)

    def save(self, path: str | Path) -> Path:
        """Store the run in a folder of runs; the run's own folder in it.

        Raises InputError where the place cannot be written.
        """
        from mltwin.sim.store import ResultStore

        about = json.dumps(
            {
                "facts": self.facts,
                "notes": self.notes,
                "violations": self.violations,
                "system": self.scenario.system if self.scenario else "",
            },
            sort_keys=True,
        )
        tables = {**self.tables, "about": {"json": np.array([about])}}
        return ResultStore(path).write(self.spec, tables, self.metrics, self.digest).folder

    @classmethod
    def restored(
        cls, metrics: Mapping[str, float], tables: Mapping[str, Columns], about: Mapping[str, Any]
    ) -> Self:
        """A result from what `save` stored; systems with a class of their own override this."""
        return cls(
            metrics,
            tables,
            facts=about["facts"],
            notes=about["notes"],
            violations=about["violations"],
        )

    @staticmethod
    def load(path: str | Path) -> "Result":
        """Read a stored run: its folder, or a folder of runs that holds one only.

        Raises InputError if there is none, it is damaged, or it was stored by another program.
        """
        from mltwin.sim.store import ResultStore

        from .scenario import Scenario, system_class

        folder = _run_folder(Path(path))
        stored = ResultStore(folder.parent).read(folder.name)
        tables = {name: _columns(stored.table(name)) for name in stored.checksums}
        try:
            about = json.loads(str(tables.pop("about")["json"][0]))
            facts = about["facts"]
        except (KeyError, IndexError, TypeError, ValueError):
            raise InputError("is not a run of this package", where=str(folder)) from None
        scenario = Scenario.parse(stored.spec.scenario, where=str(folder))
        module, _, name = system_class(scenario.system).result_class.partition(":")
        cls: type[Result] = getattr(import_module(module), name)
        result = cls.restored(stored.metrics, tables, {**about, "facts": facts})
        result.scenario, result.seed = scenario, stored.spec.seed
        result.trace_sha256 = stored.spec.trace_sha256
        result._stored_spec = stored.spec
        if result.digest != stored.digest:
            raise InputError(
                "the tables do not give the stored digest",
                where=str(folder),
                mend="remove the folder and run it again",
            )
        return result

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label!r}: {len(self.metrics)} metrics>"


def _run_folder(path: Path) -> Path:
    """The folder of the run at path.

    Raises InputError where there is no run, or more than one.
    """
    if (path / "run.json").is_file():
        return path.resolve()
    runs = sorted(folder.parent for folder in path.glob("*/run.json"))
    if len(runs) == 1:
        return runs[0].resolve()
    if runs:
        names = ", ".join(run.name[:12] for run in runs[:3])
        raise InputError(
            f"holds {len(runs)} runs ({names}, ...)", where=str(path), mend="name one of them"
        )
    raise InputError("there is no run", where=str(path), mend="give a folder that `save` made")


def _columns(table: Any) -> dict[str, np.ndarray]:
    """The columns of a pyarrow table as they were stored."""
    return {name: table[name].to_numpy() for name in table.column_names}


def _flatten(data: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
