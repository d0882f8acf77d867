"""A GPU type as one JSON file: data-sheet facts, fitted operators, and where each came from."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mltwin.sim.errors import InputError

from .operators import Operators

FORMAT = "mltwin-gpu-profile-2"
_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Facts:
    """What the data sheet says (dense peaks, one direction of links).

    ``usable_bytes`` is what a CUDA process may allocate: less than ``hbm_bytes``, because the
    driver and error correction keep a part.
    """

    source: str
    sms: int
    l2_bytes: int
    peak_flops: dict[str, float]
    hbm_bytes: int
    usable_bytes: int
    hbm_bandwidth: float
    nvlink_bandwidth: float
    host_link_bandwidth: float
    gpus_per_node: int
    tdp_w: float


@dataclass(frozen=True)
class Power:
    """Average draw of one GPU in watts; None where it was not measured."""

    busy_prefill_w: float | None
    busy_decode_w: float | None
    idle_w: float | None
    source: str


@dataclass(frozen=True)
class Host:
    """What the processor adds to the GPU's time.

    Attributes:
        iteration_s: per iteration (scheduling, launch, sampling on the host).
        sequence_s: per sequence of the batch (detokenising, book-keeping).
        hop_s: latency of one pipeline hop.
        basis: where the numbers come from.
    """

    iteration_s: float
    sequence_s: float
    hop_s: float
    basis: str


@dataclass(frozen=True)
class Provenance:
    """How one operator's parameters were found, and how far they can be trusted.

    Attributes:
        operator: e.g. ``gemm.bfloat16``.
        file, sha256: the measurement file, as stored.
        software: library and version measured.
        rows, held_rows: rows fitted to and rows held out.
        method: one sentence.
        median, p95, bias: relative error on the held-out rows, as fractions.
        sigma: scale of the error that one shape keeps over all its rows, in log time; what
            :mod:`mltwin.models.gpu.draw` draws from.
        valid: least and greatest value of each size that was measured.
    """

    operator: str
    file: str
    sha256: str
    software: str
    rows: int
    held_rows: int
    method: str
    median: float
    p95: float
    bias: float
    sigma: float
    valid: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class GpuProfile:
    """One GPU type under one engine; ``engine`` names the software whose kernels were timed. See
    the classes of the fields."""

    format: str
    name: str
    engine: str
    facts: Facts
    power: Power
    host: Host
    operators: Operators
    provenance: tuple[Provenance, ...]

    def to_json(self) -> str:
        """Canonical text: equal profiles give equal bytes."""
        return json.dumps(_plain(self), separators=(",", ":"), allow_nan=False) + "\n"


def profile_names() -> list[str]:
    """Names of the profiles that are shipped."""
    return sorted(path.stem for path in _DATA.glob("*.json"))


def shipped_path(name: str) -> Path:
    """Where the shipped profile ``name`` is, or would be, stored."""
    return _DATA / f"{name}.json"


def load_profile(source: str | Path) -> GpuProfile:
    """A profile from a JSON file or a shipped name.

    Raises:
        InputError: no such file or name, or a field that is missing, unknown or wrong.
    """
    import difflib

    path = Path(source)
    if not path.is_file():
        path = shipped_path(str(source).lower())
        if not path.is_file():
            close = difflib.get_close_matches(str(source).lower(), profile_names(), n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise InputError(
                f"no GPU profile {str(source)!r}",
                mend=f"{hint}give a JSON file or one of {profile_names()}",
            )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not JSON ({error})", where=str(path)) from None
    return parse_profile(data, where=str(path))


def parse_profile(data: Any, *, where: str | None = None) -> GpuProfile:
    """A profile from decoded JSON; every field is checked, unknown ones are refused.

    Raises:
        InputError: naming the first wrong field.
    """
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError("not a GPU profile", where=where, mend=f"'format' must be {FORMAT!r}")
    _refuse_unknown(data, GpuProfile, where)
    try:
        profile = TypeAdapter(GpuProfile).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"field {field!r}: {first['msg']}", where=where) from None
    _check_positive(profile, where)
    return profile


def _refuse_unknown(data: dict[str, Any], kind: type, where: str | None) -> None:
    known = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise InputError(
            f"unknown field {unknown[0]!r}", where=where, mend=f"known are {sorted(known)}"
        )


def _check_positive(profile: GpuProfile, where: str | None) -> None:
    """Rates and sizes that something is divided by must be positive and finite."""
    import math

    def visit(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                visit(item, f"{path}.{key}")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                visit(item, f"{path}[{index}]")
        elif path.endswith(".trees.offset"):
            return
        elif isinstance(value, int | float) and not isinstance(value, bool):
            name = path.rsplit(".", 1)[-1]
            divisor = name in ("flops", "bandwidth", "power", "sms") or "bandwidth" in name
            if not math.isfinite(value) or value < 0 or (divisor and value == 0):
                raise InputError(f"field {path[1:]!r} is {value!r}", where=where)

    for part in ("facts", "power", "host", "operators"):
        visit(_plain(getattr(profile, part)), f".{part}")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
