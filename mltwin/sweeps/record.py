"""What a sweep's folder says of the study whose rows are in it: `study.json`.

It holds the points, the seeds and the key of each point, so that the rows of a running or finished
sweep can be found and shown without the scenario's files, its system, or the code of its time.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from mltwin.sim.errors import InputError
from mltwin.sim.store import write_atomically

from .identity import run_key
from .spaces import Point
from .study import Study

FORMAT = "mltwin.study"
FORMAT_VERSION = 1
FILE = "study.json"
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Record:
    """A study as plain data.

    Attributes:
        name: a label.
        study: hash of base, points and seeds.
        base: the scenario that is varied.
        folder: from which the scenario's relative paths are taken, "" without.
        points: dotted field to value.
        seeds: of every point.
        metrics: to show first.
        headline: what the system shows first.
        point_keys: what the keys of each point's runs are made of; [] without a store.
        code: hash of the code that they are made with.
    """

    name: str
    study: str
    base: dict[str, Any]
    folder: str
    points: list[Point]
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    headline: tuple[str, ...]
    point_keys: tuple[str, ...] = ()
    code: str = ""

    @classmethod
    def of(cls, study: Study) -> Self:
        """The record of a study, without keys."""
        folder = study.base._folder
        return cls(
            study.name,
            study.hash,
            study.base.data(),
            "" if folder is None else str(folder),
            study.points,
            study.seeds,
            study.metrics,
            study.headline,
        )

    def keyed(self, point_keys: list[str], code: str) -> Self:
        """The same with the keys of its points."""
        return replace(self, point_keys=tuple(point_keys), code=code)

    def keys(self) -> list[str]:
        """The key of each run: all points on the first seed, then on the next."""
        return [run_key(point, seed) for seed in self.seeds for point in self.point_keys]

    @cached_property
    def varied(self) -> list[str]:
        """The varied fields, in order of appearance."""
        return list(dict.fromkeys(name for point in self.points for name in point))

    def base_value(self, name: str) -> Any:
        """The base scenario's own value of a dotted field; None where it has none."""
        here: Any = self.base
        for step in name.split("."):
            if isinstance(here, Mapping):
                here = here.get(step)
            elif isinstance(here, list) and step.isdigit() and int(step) < len(here):
                here = here[int(step)]
            else:
                return None
        return here if here is None or isinstance(here, str | int | float) else str(here)


def write_record(folder: Path, record: Record) -> None:
    """Put the record into a sweep's folder, in the place of another.

    Raises InputError where it cannot be written.
    """
    data = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(record)}
    text = json.dumps(data, allow_nan=False) + "\n"
    try:
        write_atomically(folder / FILE, lambda out: out.write(text.encode()))
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror or error}",
            where=str(folder / FILE),
            mend="choose a folder that you may write to, with room",
        ) from None


def read_record(folder: str | Path) -> Record:
    """The record of the last sweep of a folder.

    Raises InputError where there is none, or it is damaged.
    """
    path = Path(folder).expanduser() / FILE
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _damaged(path, f"more than {_MOST_BYTES} bytes")
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            "there is no sweep", where=str(folder), mend="give the folder of a sweep"
        ) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
        raise _damaged(path, f"not of format {FORMAT!r}")
    if data.pop("format_version", None) != FORMAT_VERSION:
        raise InputError("is of another version", where=str(path), mend="run the sweep again")
    if set(data) != {field.name for field in fields(Record)} or not _is_sound(data):
        raise _damaged(path, "something is missing or of another type")
    tuples = {name: tuple(data[name]) for name in ("seeds", "metrics", "headline", "point_keys")}
    return Record(**{**data, **tuples})


def _is_sound(data: Mapping[str, Any]) -> bool:
    texts = all(isinstance(data[name], str) for name in ("name", "study", "folder", "code"))
    lists = all(
        isinstance(data[name], list)
        for name in ("points", "seeds", "metrics", "headline", "point_keys")
    )
    return (
        texts
        and lists
        and isinstance(data["base"], dict)
        and all(isinstance(point, dict) for point in data["points"])
        and all(isinstance(seed, int) for seed in data["seeds"])
        and all(isinstance(key, str) for key in data["point_keys"])
        and len(data["points"]) == len(data["point_keys"])
    )


def _damaged(path: Path, message: str) -> InputError:
    return InputError(
        f"is damaged: {message}", where=str(path), mend="run the sweep again: it writes it anew"
    )
