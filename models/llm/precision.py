"""How many bytes a stored number takes, and in which type it is multiplied."""

from dataclasses import dataclass

from mltwin.sim.errors import InputError


@dataclass(frozen=True)
class Precision:
    """One number format.

    Attributes:
        name: the name used throughout (``bfloat16``, ``fp8``, ...).
        weight_bytes: bytes of one stored weight, its share of scales and zero points included.
        compute: the format the tensor cores multiply in; weight-only formats are widened to
            bfloat16 before.
    """

    name: str
    weight_bytes: float
    compute: str


PRECISIONS = {
    p.name: p
    for p in (
        Precision("float32", 4.0, "float32"),
        Precision("bfloat16", 2.0, "bfloat16"),
        Precision("float16", 2.0, "bfloat16"),
        Precision("fp8", 1.0, "fp8"),
        # One float32 scale for a block of 128 x 128 weights.
        Precision("fp8_block", 1.0 + 4.0 / 128**2, "fp8_block"),
        Precision("int8", 1.0, "bfloat16"),
        # A float16 scale and a 4-bit zero point for a group of 128 weights (AWQ, GPTQ).
        Precision("int4", 0.5 + 2.5 / 128, "bfloat16"),
        # One 8-bit exponent for a block of 32 weights (OCP Microscaling Formats 1.0, section 5).
        Precision("mxfp4", 0.5 + 1.0 / 32, "bfloat16"),
        # One fp8 scale for a block of 16 weights (NVIDIA, "Introducing NVFP4", 2025).
        Precision("nvfp4", 0.5 + 1.0 / 16, "nvfp4"),
    )
}

_ALIASES = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "half": "float16",
    "fp32": "float32",
    "float": "float32",
    "float8": "fp8",
    "fp8_e4m3": "fp8",
    "fp8_e5m2": "fp8",
    "float8_e4m3fn": "fp8",
    "fp4": "nvfp4",
    "awq": "int4",
    "gptq": "int4",
}


def precision(name: str, *, where: str | None = None) -> Precision:
    """The format called ``name`` (aliases such as ``bf16`` and ``torch.float16`` included).

    Raises:
        InputError: an unknown format.
    """
    key = name.lower().removeprefix("torch.")
    key = _ALIASES.get(key, key)
    if key not in PRECISIONS:
        raise InputError(
            f"unknown number format {name!r}", where=where, mend=f"use one of {sorted(PRECISIONS)}"
        )
    return PRECISIONS[key]
