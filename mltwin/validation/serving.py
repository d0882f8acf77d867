"""All measured deployments of a data folder, replayed: what ``mltwin validate serving`` calls."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mltwin.sim.errors import InputError

from .pairs import Pair

Progress = Callable[[float, str], None]
FITTED = "nothing"
"""What of the twin was fitted to the runs that `validate_serving` scores."""
SOURCES = ("llmservingsim", "apex_plus", "mlperf", "mooncake", "silicon")
_PLACES = {
    "llmservingsim": ("groundtruth/llmservingsim", "llmservingsim"),
    "apex_plus": ("groundtruth/apex_plus", "apex_plus"),
    "mlperf": ("groundtruth/mlperf_v5.1", "mlperf_v5.1"),
    "mooncake": ("groundtruth/mooncake", "mooncake"),
    "silicon": ("groundtruth/aiconfigurator", "aiconfigurator"),
}


def present(data: str | Path) -> list[str]:
    """The sources that a folder holds: a data folder, its ``groundtruth``, or one source's own."""
    root = Path(data)
    return [name for name in SOURCES if _has(root, name)]


def _has(root: Path, name: str) -> bool:
    if any((root / place).is_dir() for place in _PLACES[name]):
        return True
    if (root / "groundtruth").is_dir():
        return False
    if name == "silicon":
        named = root.is_file() and root.name.endswith((".csv", ".csv.gz"))
        return named or any(root.glob("silicon_sample.csv*"))
    if name == "llmservingsim":
        return root.is_dir() and any(root.rglob("requests.jsonl"))
    if name == "apex_plus":
        return (root / "serving_results.csv").is_file()
    if name == "mlperf":
        return (root / "llm_runs.csv").is_file()
    return root.name == name


def validate_serving(
    data: str | Path,
    only: Sequence[str] | None = None,
    sample: int | None = None,
    progress: Progress | None = None,
    kernels: str | Path | None = None,
) -> list[Pair]:
    """Replay every measured deployment under ``data`` and pair it with the prediction.

    Args:
        data: a data folder, its ``groundtruth``, or the folder (or file) of one source.
        only: some of ``SOURCES``.
        sample: at most so many rows of ``silicon`` (spread over the file).
        progress: called with (share of the sources that are done, text).
        kernels: the data folder that holds kernel tables (default: ``data``, or where
            ``MLTWIN_DATA`` points if ``data`` has none).

    Raises:
        InputError: no such folder, nothing measured in it, an unknown source, or a run that
            cannot be read.
    """
    root = Path(data)
    if not root.exists():
        raise InputError("no such folder", where=str(root), mend="point --data at the data folder")
    unknown = [name for name in only or () if name not in SOURCES]
    if unknown:
        raise InputError(f"no source {unknown[0]!r}", mend=f"use some of {', '.join(SOURCES)}")
    found = [name for name in present(root) if only is None or name in only]
    if not found:
        wanted = ", ".join(only or SOURCES)
        raise InputError(
            f"no measured deployments ({wanted})",
            where=str(root),
            mend="point --data at a folder that has groundtruth/",
        )
    pairs: list[Pair] = []
    for number, name in enumerate(found):
        step = _step(progress, name, number, len(found))
        step(0.0, "")
        pairs += _validate(name, _source_root(root, name), _kernels(root, kernels), sample, step)
    if progress:
        progress(1.0, "done")
    return pairs


def _step(progress: Progress | None, name: str, number: int, count: int) -> Progress:
    """Progress of one source, as part of that of all."""

    def tell(share: float, text: str) -> None:
        if progress:
            progress((number + share) / count, f"{name} {text}".rstrip())

    return tell


def _source_root(root: Path, name: str) -> Path:
    """The folder of one source, whichever of its parents was given."""
    return next((root / place for place in _PLACES[name] if (root / place).is_dir()), root)


def _kernels(root: Path, given: str | Path | None) -> Path:
    if given is not None:
        return Path(given)
    for place in (root, root.parent):
        if (place / "kernels").is_dir():
            return place
    return Path(os.environ.get("MLTWIN_DATA") or root)


def _validate(
    name: str, root: Path, kernels: Path, sample: int | None, progress: Progress
) -> list[Pair]:
    if name == "llmservingsim":
        from .runs_llmservingsim import validate_llmservingsim

        return validate_llmservingsim(root, kernels)
    if name == "apex_plus":
        from .runs_apex import validate_apex

        return validate_apex(root)
    if name == "mlperf":
        from .runs_mlperf import validate_mlperf

        return validate_mlperf(root)
    if name == "mooncake":
        from .runs_mooncake import validate_mooncake

        return validate_mooncake(root)
    from .silicon import validate_silicon

    return validate_silicon(root, sample=sample, progress=progress)
