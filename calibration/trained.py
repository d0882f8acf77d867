"""Which shapes the shipped profiles were fitted to, as fingerprints.

    python -m mltwin.calibration.trained --data $MLTWIN_DATA --write

Rows that someone brings are new to a profile only if their shape is not among these: without
them a score on "unseen" rows could be one on the rows of the fit.
"""

import argparse
import functools
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.gpu.profile import GpuProfile, load_profile
from mltwin.sim.errors import InputError

from .cases import FAMILIES, Case, cases
from .sources import SOURCES
from .tables import index_tables

FORMAT = "mltwin-trained-shapes-1"
FILE = Path(__file__).parent / "data" / "trained-shapes.json"
DIGITS = 8


def fingerprint(shape: tuple[int, ...]) -> str:
    """Eight hexadecimal digits of the SHA-256 of a shape's numbers."""
    return hashlib.sha256(",".join(str(v) for v in shape).encode()).hexdigest()[:DIGITS]


def unseen(case: Case, profile: GpuProfile) -> npt.NDArray[np.bool_] | None:
    """Rows whose shape the shipped profile was not fitted to.

    Returns:
        A mask; None where nobody recorded what the operator was fitted to, or recorded it of
        another fit.
    """
    known = _known(profile, case.operator)
    if known is None:
        return None
    labels, index = np.unique(case.shapes(), return_index=True)
    shapes = case.rows[list(FAMILIES[case.family].shape)].iloc[index].astype(int)
    new = np.array([fingerprint(tuple(row)) not in known for row in shapes.to_numpy().tolist()])
    return new[np.searchsorted(labels, case.shapes())]


def _known(profile: GpuProfile, operator: str) -> frozenset[str] | None:
    entry = _recorded()["profiles"].get(profile.name, {}).get(operator)
    of = next((p for p in profile.provenance if p.operator == operator), None)
    if entry is None or of is None or entry["sha256"] != of.sha256:
        return None
    return _set(entry["set"])


@functools.cache
def _set(number: int) -> frozenset[str]:
    text = _recorded()["sets"][number]
    return frozenset(text[i : i + DIGITS] for i in range(0, len(text), DIGITS))


@functools.cache
def _recorded() -> dict[str, Any]:
    if not FILE.is_file():
        return {"format": FORMAT, "sets": [], "profiles": {}}
    data = json.loads(FILE.read_text(encoding="utf-8"))
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError("not a file of fingerprints", where=str(FILE), mend="install mltwin again")
    return data


def record(data: str | Path) -> str:
    """The file's text for the shipped profiles, from the tables that they were fitted to.

    Raises:
        InputError: a table that is missing, or is not the one of the profile.
    """
    from . import read

    index = index_tables(data)
    sets: dict[str, int] = {}
    profiles: dict[str, dict[str, Any]] = {}
    for source in SOURCES:
        shipped = {p.operator: p for p in load_profile(source.name).provenance}
        for case in cases(index, source):
            entry = shipped.get(case.operator)
            if entry is None:
                continue
            if read.sha256(case.file) != entry.sha256:
                raise InputError(
                    f"is not the file that {source.name}'s {case.operator} was fitted to",
                    where=str(case.file),
                )
            number = sets.setdefault(_fitted_shapes(case), len(sets))
            profiles.setdefault(source.name, {})[case.operator] = {
                "sha256": entry.sha256,
                "set": number,
            }
    content = {"format": FORMAT, "sets": list(sets), "profiles": profiles}
    return json.dumps(content, indent=0, sort_keys=True) + "\n"


def _fitted_shapes(case: Case) -> str:
    """Of collectives the shipped table holds every size, whatever was held out for the error."""
    rows = case.rows if case.family == "collective" else case.rows[~case.held]
    shapes = rows[list(FAMILIES[case.family].shape)].astype(int).drop_duplicates()
    return "".join(sorted(fingerprint(tuple(row)) for row in shapes.to_numpy().tolist()))


def main(arguments: list[str] | None = None) -> int:
    """Writes the fingerprints, or compares them with what is shipped."""
    parser = argparse.ArgumentParser(description="Fingerprints of the shapes fitted to.")
    parser.add_argument("--data", default=os.environ.get("MLTWIN_DATA"))
    parser.add_argument("--write", action="store_true", help="overwrite the shipped file")
    options = parser.parse_args(arguments)
    if not options.data:
        parser.error("give --data or set MLTWIN_DATA")
    text = record(options.data)
    if options.write:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(text, encoding="utf-8")
        return 0
    same = FILE.is_file() and FILE.read_text(encoding="utf-8") == text
    print("the same" if same else f"differs from {FILE.name}")
    return 0 if same else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
