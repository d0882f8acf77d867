"""A committed baseline: what the metrics of a scenario were, seed by seed.

One JSON file a scenario, sorted keys, one metric a line, so that a pull request shows what moved.
It holds values of each seed, so that the old code need not run again.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError

from .tolerances import DIRECTIONS, Direction, Tolerance

FORMAT = "mltwin.baseline"
SCHEMA = 1
MAX_BYTES = 16 * 2**20
_LABELS = ("name", "seed")


@dataclass(frozen=True)
class Tracked:
    """A metric under guard.

    values: one for each seed of the baseline, None where that run had none.
    """

    values: tuple[float | None, ...]
    direction: Direction
    tolerance: Tolerance

    @property
    def mean(self) -> float | None:
        """Mean of the values there are."""
        known = [value for value in self.values if value is not None]
        return math.fsum(known) / len(known) if known else None


@dataclass(frozen=True)
class Baseline:
    """What `mltwin check` holds a scenario's runs against.

    Attributes:
        scenario: its file, relative to the baseline's folder; "" where it came from Python.
        scenario_hash: of what the scenario says (`scenario_hash`).
        inputs: SHA-256 of each file that the scenario names, policies left out.
        seeds: all that are stored; a check begins with the first `first` of them.
        digests, traces: of the runs, in the order of seeds: of their behaviour and their workload,
            the first digits of SHA-256.
        metrics: under guard, by name.
        code: what made it: versions and hashes, for information.
        updated: why it was made and remade, oldest first.
        path: where it was read from.
    """

    scenario: str
    scenario_hash: str
    inputs: Mapping[str, str]
    seeds: tuple[int, ...]
    first: int
    digests: tuple[str, ...]
    traces: tuple[str, ...]
    metrics: Mapping[str, Tracked]
    code: Mapping[str, str]
    updated: tuple[str, ...]
    path: Path | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """What it is called: its file's name."""
        return self.path.stem if self.path else "baseline"

    @property
    def generated(self) -> bool:
        """Whether the workload was drawn anew for each seed."""
        return len(set(self.traces)) > 1

    def scenario_path(self) -> Path | None:
        """Where the scenario's file stands."""
        if self.path is None or not self.scenario:
            return None
        return self.path.parent / self.scenario

    def text(self) -> str:
        """The JSON text: sorted keys, a line for each of them and for each metric."""
        metrics = {
            name: {
                "direction": one.direction,
                "mean": one.mean,
                "tol": one.tolerance.data(),
                "values": list(one.values),
            }
            for name, one in self.metrics.items()
        }
        same = len(set(self.traces)) == 1
        data: dict[str, Any] = {
            "code": dict(self.code),
            "digests": list(self.digests),
            "first": self.first,
            "format": FORMAT,
            "inputs": dict(self.inputs),
            "metrics": metrics,
            "scenario": self.scenario,
            "scenario_hash": self.scenario_hash,
            "schema": SCHEMA,
            "seeds": list(self.seeds),
            "trace_sha256": self.traces[0] if same else list(self.traces),
            "updated": list(self.updated),
        }
        lines = [f"{_json(key)}: {_value(key, data[key])}" for key in sorted(data)]
        return "{\n " + ",\n ".join(lines) + "\n}\n"

    def save(self, path: str | Path) -> None:
        """Write the file. Raises InputError where that cannot be done."""
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(self.text(), encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None

    @classmethod
    def load(cls, path: str | Path) -> "Baseline":
        """Read a file that `save` wrote.

        Raises InputError naming the file and the key that is wrong.
        """
        data = _read(Path(path))
        at = _Place(str(path), data)
        if data.get("format") != FORMAT:
            raise InputError(
                "is no baseline", where=str(path), mend="make one with `mltwin check --init`"
            )
        if data.get("schema") != SCHEMA:
            raise InputError(
                f"has schema {data.get('schema')!r}, this version reads {SCHEMA}",
                where=str(path),
                mend="use the mltwin that made it, or `mltwin check --update`",
            )
        seeds = tuple(at.get("seeds", list, _is_count))
        if not seeds or len(set(seeds)) != len(seeds):
            raise InputError("are missing or repeated", where=f"{path}: seeds", mend=_REMAKE)
        traces = data.get("trace_sha256")
        first = at.get("first", int)
        found = cls(
            scenario=at.get("scenario", str),
            scenario_hash=at.get("scenario_hash", str),
            inputs=at.get("inputs", dict, _is_text),
            seeds=seeds,
            first=first,
            digests=tuple(at.get("digests", list, _is_text)),
            traces=(traces,) * len(seeds)
            if isinstance(traces, str)
            else tuple(at.get("trace_sha256", list, _is_text)),
            metrics={
                name: _tracked(one, len(seeds), f"{path}: metrics.{name}")
                for name, one in at.get("metrics", dict).items()
            },
            code=at.get("code", dict, _is_text),
            updated=tuple(at.get("updated", list, _is_text)),
            path=Path(path),
        )
        found._check(str(path))
        return found

    def _check(self, where: str) -> None:
        count = len(self.seeds)
        if len(self.digests) != count or len(self.traces) != count:
            raise InputError(f"{count} seeds need as many digests", where=where, mend=_REMAKE)
        if not 1 <= self.first <= count:
            raise InputError(
                f"first = {self.first} of {count} seeds", where=where, mend=f"give 1 to {count}"
            )
        if not self.metrics:
            raise InputError("guards no metric", where=f"{where}: metrics", mend=_REMAKE)


_REMAKE = "make it anew with `mltwin check --update`"


def scenario_hash(scenario: Scenario) -> str:
    """SHA-256 (hex) of what a scenario says beyond the defaults, without name and seed.

    Unlike `Scenario.hash` it stays the same when a new version adds fields.
    """
    from mltwin.sim.runspec import content_hash

    data = scenario.data(full=False)
    return content_hash({key: value for key, value in data.items() if key not in _LABELS})


def input_hashes(scenario: Scenario) -> dict[str, str]:
    """SHA-256 of each file that a scenario names, by the name as it stands there.

    Python files are left out: they are what the gate is to judge.
    """
    found = {}
    for text in sorted(set(_texts(scenario.data(full=False)))):
        if text and len(text) < 4096 and "\0" not in text and not text.endswith(".py"):
            path = scenario.resolve_path(text)
            if _is_file(path):
                found[text] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner: Sequence[Any] = ()
    if isinstance(value, Mapping):
        inner = [part for key, part in value.items() if key not in _LABELS]
    elif isinstance(value, list):
        inner = value
    return [text for part in inner for text in _texts(part)]


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _value(key: str, value: Any) -> str:
    """JSON text of a top-level key: metrics and reasons get a line each."""
    if key == "metrics":
        lines = [f"  {_json(name)}: {_json(value[name])}" for name in sorted(value)]
        return "{\n" + ",\n".join(lines) + "\n }"
    if key == "updated" and value:
        return "[\n" + ",\n".join(f"  {_json(one)}" for one in value) + "\n ]"
    return _json(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError("is too large for a baseline", where=str(path))
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend="check the path") from None
    except json.JSONDecodeError as error:
        if path.suffix == ".toml":
            raise InputError(
                "is a scenario, not a baseline",
                where=str(path),
                mend="name the .json beside it, or make one with `mltwin check --init`",
            ) from None
        where = f"{path}, line {error.lineno}, column {error.colno}"
        raise InputError(f"is not JSON: {error.msg}", where=where, mend=_REMAKE) from None
    except (OSError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read: {reason}", where=str(path)) from None
    if not isinstance(data, dict):
        raise InputError("is no baseline", where=str(path), mend=_REMAKE)
    return data


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


class _Place:
    """The keys of a file, told by name where they are wrong."""

    def __init__(self, where: str, data: Mapping[str, Any]) -> None:
        self.where, self.data = where, data

    def get(self, key: str, kind: type, each: Any = None) -> Any:
        """The value of a key, checked to be of a kind, and each of its members too."""
        value: Any = self.data.get(key)
        good = isinstance(value, kind) and not isinstance(value, bool)
        if good and each is not None:
            members = value.values() if isinstance(value, dict) else value
            good = all(each(one) for one in members)
        if not good:
            raise InputError(
                f"{value!r:.60} is not what belongs there",
                where=f"{self.where}: {key}",
                mend=_REMAKE,
            )
        return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _is_value(value: Any) -> bool:
    if value is None:
        return True
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and abs(value) < math.inf


def _tracked(data: Any, count: int, where: str) -> Tracked:
    if not isinstance(data, dict):
        raise InputError(f"{data!r:.60} is no metric", where=where, mend=_REMAKE)
    values, way = data.get("values"), data.get("direction")
    if not isinstance(values, list) or len(values) != count or not all(map(_is_value, values)):
        raise InputError(
            f"needs a number (or null) for each of {count} seeds",
            where=f"{where}.values",
            mend=_REMAKE,
        )
    if way not in DIRECTIONS:
        raise InputError(
            f"unknown direction {way!r}",
            where=f"{where}.direction",
            mend=f"use one of {', '.join(DIRECTIONS)}",
        )
    tolerance = Tolerance.of_data(data.get("tol"), where=f"{where}.tol")
    return Tracked(tuple(None if v is None else float(v) for v in values), way, tolerance)
