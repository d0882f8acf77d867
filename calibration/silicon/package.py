"""Where the operator tables are, and how they are read.

A folder of tables has the form ``<system>/<family>/<framework>/<version>/<table>_perf.parquet``
(the installed package ``aiconfigurator-core``, extra ``silicon``), or the same with
``<framework>-<version>`` in one step and ``.csv`` or ``.csv.gz`` files. Latencies come out in
seconds, whatever the column is called; all other columns keep their names.
"""

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from mltwin.sim.errors import InputError

PACKAGE = "aiconfigurator_core"
_SUFFIXES = ("parquet", "csv.gz", "csv")


def package_folder() -> Path:
    """The tables of the installed package.

    Raises:
        InputError: the package is not installed.
    """
    import importlib.util

    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "the measured operator tables are not installed",
            mend="pip install 'mltwin[silicon]', or give a folder of tables",
        )
    return Path(next(iter(found.submodule_search_locations))) / "systems" / "data"


class Tables:
    """The measured tables of one GPU system.

    Args:
        system: its folder, e.g. ``h200_sxm``.
        folder: where the systems are (default: the installed package).

    Raises:
        InputError: no such folder or system; those that are there are named.
    """

    def __init__(self, system: str, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else package_folder()
        self.system = system
        if not (self.folder / system).is_dir():
            there = sorted(p.name for p in self.folder.glob("*") if p.is_dir())
            raise InputError(
                f"no system {system!r}", where=str(self.folder), mend=f"use one of {there}"
            )
        self._index = _index(self.folder / system)

    def versions(self, family: str, table: str, framework: str) -> list[str]:
        """Versions of a table, oldest first; empty where there is none."""
        return sorted(self._index.get((family, table, framework), {}), key=version_key)

    def read(
        self, family: str, table: str, framework: str, version: str | None = None
    ) -> pd.DataFrame | None:
        """A table of the version nearest to ``version`` (None: the newest), or None.

        The frame's ``attrs`` hold ``source`` (file, relative to the folder) and ``version``.

        Raises:
            InputError: a file that cannot be read or holds no positive latency.
        """
        known = self._index.get((family, table, framework))
        if not known:
            return None
        chosen = nearest_version(known, version)
        frame = _read(known[chosen])
        frame.attrs = {"source": str(known[chosen].relative_to(self.folder)), "version": chosen}
        return frame


def version_key(version: str) -> tuple[Any, ...]:
    """Orders versions: numbers count, a release candidate comes before its release."""
    numbers = [int(n) for n in re.findall(r"\d+", version.split("rc")[0].split("post")[0])]
    candidate = re.search(r"rc(\d+)", version)
    post = re.search(r"post(\d+)", version)
    numbers = [*numbers, 0, 0, 0][:3]
    return (*numbers, int(candidate[1]) if candidate else 10**6, int(post[1]) if post else 0)


def nearest_version(known: Iterable[str], wanted: str | None) -> str:
    """The oldest version not older than ``wanted`` (None: the newest), else the newest.

    Kernels change with versions, and measurement campaigns are rare: the next campaign after a
    deployment has most of its kernels.
    """
    return nearest_versions(known, wanted)[0]


def nearest_versions(known: Iterable[str], wanted: str | None) -> list[str]:
    """All versions, from the one of :func:`nearest_version` on: later ones, then earlier ones."""
    ordered = sorted(known, key=version_key)
    least = version_key(ordered[-1] if wanted is None else wanted)
    later = [v for v in ordered if version_key(v) >= least]
    return later + [v for v in reversed(ordered) if version_key(v) < least]


def _index(folder: Path) -> dict[tuple[str, str, str], dict[str, Path]]:
    """(family, table, framework) -> version -> file."""
    found: dict[tuple[str, str, str], dict[str, Path]] = {}
    for suffix in _SUFFIXES:
        for path in sorted(folder.rglob(f"*_perf.{suffix}")):
            parts = path.relative_to(folder).parts
            table = path.name.removesuffix(f"_perf.{suffix}")
            if len(parts) == 4:
                family, framework, version = parts[:3]
            elif len(parts) == 3 and "-" in parts[1]:
                family = parts[0]
                framework, version = parts[1].split("-", 1)
            else:
                continue
            found.setdefault((family, table, framework), {}).setdefault(version, path)
    return found


@functools.lru_cache(maxsize=64)
def _read(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except Exception as error:  # pyarrow and pandas raise a dozen kinds
        raise InputError(f"cannot be read ({error})", where=str(path)) from None
    if "latency" in frame:
        frame["seconds"] = frame["latency"].astype(float) * 1e-3
        # A few rows hold 0 or less: a measurement that failed. They say nothing.
        frame = frame[frame["seconds"] > 0].reset_index(drop=True)
        if frame.empty:
            raise InputError("holds no positive latency", where=str(path))
    return frame
