"""Write constraints.txt, the lock: ``python tools/lock.py python3.11 python3.12 python3.13``.

Each interpreter's own pip resolves the project and its ``dev`` extra, without installing. Where
the interpreters agree on a version one line holds it; where they do not, each version gets the
marker of the Python versions it is for. The newest interpreter's choice also stands for later ones.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from source_tree import PACKAGE, ROOT, pyproject

LOCK = ROOT / "constraints.txt"
HEADER = """\
# The versions that `make` installs and the tests run against, for Python {pythons}.
# Written by `make lock`; do not edit by hand.
"""


def requirements(extra: str, extras: dict[str, list[str]]) -> list[str]:
    """What an extra asks for, with the project's own extras among it spelt out."""
    found = []
    for item in extras[extra]:
        if item.startswith(f"{PACKAGE}["):
            for name in item[len(PACKAGE) + 1 : -1].split(","):
                found += requirements(name, extras)
        else:
            found.append(item)
    return found


def resolve(python: str) -> tuple[str, dict[str, str]]:
    """Ask one interpreter's pip what it would install.

    Returns:
        The Python version as "3.11", and distribution name -> version.
    """
    project = pyproject()["project"]
    wanted = project["dependencies"] + requirements("dev", project["optional-dependencies"])
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*command, "--report", str(report), *wanted], check=True)
        found = json.loads(report.read_text("utf-8"))
    versions = {item["metadata"]["name"]: item["metadata"]["version"] for item in found["install"]}
    versions.pop(PACKAGE, None)
    return found["environment"]["python_version"], versions


def merge(resolved: dict[str, dict[str, str]]) -> list[str]:
    """Merge each interpreter's versions into lines with environment markers.

    Args:
        resolved: Python version ("3.11") -> {distribution name: version}.

    Raises:
        ValueError: a version is not for a run of neighbouring Pythons.
    """
    pythons = sorted(resolved, key=_order)
    names = sorted({name for versions in resolved.values() for name in versions}, key=str.lower)
    lines = []
    for name in names:
        groups: dict[str, list[int]] = {}
        for position, python in enumerate(pythons):
            if name in resolved[python]:
                groups.setdefault(resolved[python][name], []).append(position)
        for version, held in groups.items():
            if held != list(range(held[0], held[-1] + 1)):
                raise ValueError(f"{name} {version}: a gap between the Pythons that use it")
            lines.append(f"{name}=={version}{_marker(pythons, held)}")
    return lines


def _marker(pythons: list[str], held: list[int]) -> str:
    bounds = []
    if held[0] > 0:
        bounds.append(f'python_version >= "{pythons[held[0]]}"')
    if held[-1] < len(pythons) - 1:
        bounds.append(f'python_version < "{pythons[held[-1] + 1]}"')
    return " ; " + " and ".join(bounds) if bounds else ""


def _order(python: str) -> tuple[int, ...]:
    return tuple(int(part) for part in python.split("."))


def main(pythons: list[str]) -> int:
    """Resolve with every interpreter named and write the lock."""
    if not pythons:
        print("usage: python tools/lock.py PYTHON...", file=sys.stderr)
        return 2
    resolved = dict(resolve(python) for python in pythons)
    header = HEADER.format(pythons=", ".join(sorted(resolved, key=_order)))
    LOCK.write_text(header + "\n".join(merge(resolved)) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
