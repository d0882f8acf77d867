"""Finds measured operator tables in a folder, whatever part of the data it holds."""

import functools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from mltwin.sim.errors import InputError

TABLES = {
    "gemm": "gemm_perf",
    "decode": "generation_attention_perf",
    "prefill": "context_attention_perf",
    "moe": "moe_perf",
    "all_reduce": "custom_allreduce_perf",
    "nccl": "nccl_perf",
}
"""Families of operators and the names of their files, without the ending."""
_SUFFIXES = (".csv.gz", ".csv", ".parquet")
_FAMILY = {stem: family for family, stem in TABLES.items()}


@dataclass(frozen=True)
class Index:
    """Measured tables by (system, family), then version; ``system`` is "" where no path says.

    Attributes:
        root: what was searched.
        files: e.g. ``files["h100_sxm", "gemm"]["vllm-0.24.0"]``.
    """

    root: Path
    files: dict[tuple[str, str], dict[str, Path]] = field(default_factory=dict)

    def versions(self, system: str, family: str) -> dict[str, Path]:
        """Files by version; those of no named system serve for any."""
        return self.files.get((system, family)) or self.files.get(("", family), {})

    def choose(self, system: str, family: str, wanted: str) -> tuple[str, Path] | None:
        """The wanted version, or else the newest of the same software, or None."""
        from mltwin.calibration.silicon.package import version_key

        known = self.versions(system, family)
        if wanted in known:
            return wanted, known[wanted]
        software = wanted.split("-")[0]
        same = [v for v in known if v.split("-")[0] in (software, "")]
        if not same:
            return None
        newest = max(same, key=version_key)
        return newest, known[newest]


def index_tables(data: str | Path) -> Index:
    """All tables in a folder of the form ``<system>/<family>/<software>-<version>/<table>``.

    Also understood: ``<software>/<version>`` as two folders, Parquet files, any folder above
    (the data folder, its ``kernels``), and one file alone, whose own path says what it is.

    Raises:
        InputError: nothing there, or no table in it.
    """
    root = Path(data)
    if not root.exists():
        raise InputError("no such file or folder", where=str(root))
    if (root / "kernels").is_dir():
        root = root / "kernels"
    paths = [root] if root.is_file() else [p for p in sorted(root.rglob("*_perf.*")) if p.is_file()]
    index = Index(root)
    for path in paths:
        family = _family(path)
        if family is None:
            continue
        system, version = _place(path.absolute(), family)
        index.files.setdefault((system, family), {}).setdefault(version, path)
    if not index.files:
        raise InputError(
            "no measured operator tables there",
            where=str(root),
            mend="give a folder with files such as h100_sxm/gemm/vllm-0.24.0/gemm_perf.csv.gz",
        )
    return index


def _family(path: Path) -> str | None:
    for suffix in _SUFFIXES:
        if path.name.endswith(suffix):
            return _FAMILY.get(path.name.removesuffix(suffix))
    return None


def _place(path: Path, family: str) -> tuple[str, str]:
    """System and version, by the folders' names above a file."""
    parts = path.parts[:-1]
    folders = {"decode": "attention", "prefill": "attention", "all_reduce": "comm", "nccl": "comm"}
    named = folders.get(family, family)
    for up, steps in ((2, 1), (3, 2)):
        if len(parts) > up and parts[-up] == named:
            return parts[-up - 1], "-".join(parts[-steps:])
    return "", ""


def as_text(path: Path) -> Path:
    """The table as a file that the readers of :mod:`mltwin.calibration.read` take: itself, or,
    of a Parquet file, a CSV copy of the rows with a positive latency."""
    return path if path.suffix != ".parquet" else _copied(path)


@functools.lru_cache(maxsize=32)
def _copied(path: Path) -> Path:
    frame = pd.read_parquet(path)
    # A few rows hold 0 or less: a measurement that failed.
    frame = frame[frame["latency"].astype(float) > 0]
    folder = Path(_scratch().name)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".csv", delete=False) as file:
        frame.to_csv(file, index=False)
    return Path(file.name)


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """Removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="mltwin-tables-")
