"""What the package is made of, read from pyproject.toml: the one place that knows the folder map.

The folders at the top of the repository are mapped into the import name ``mltwin``
(``[tool.setuptools.package-dir]``), so "which files are the package" is a question about that map
and not about one folder. ``typecheck.py`` and the layout tests ask it here.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "mltwin"

# Folders that hold no source of ours, wherever they stand.
_SKIPPED = {".git", ".venv", ".venv-bench", ".typing", ".hypothesis", "__pycache__"}
_SKIPPED |= {"build", "dist", "results"}


@dataclass(frozen=True)
class Module:
    """One Python file of the package and the name it is imported by."""

    name: str
    path: Path

    @property
    def is_package(self) -> bool:
        """Whether this is the ``__init__.py`` of a package."""
        return self.path.name == "__init__.py"


@cache
def pyproject() -> dict:
    """The parsed pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def package_dirs() -> dict[str, Path]:
    """Import name -> folder, as mapped in ``[tool.setuptools.package-dir]``."""
    mapping = pyproject()["tool"]["setuptools"]["package-dir"]
    return {name: ROOT / folder for name, folder in mapping.items()}


def listed_packages() -> list[str]:
    """The packages that a wheel will hold, as listed by hand in pyproject.toml."""
    return pyproject()["tool"]["setuptools"]["packages"]


def package_folder(package: str) -> Path:
    """The folder of a package: that of its nearest mapped parent, and the rest of the name."""
    mapping = package_dirs()
    parent = package
    while parent not in mapping:
        parent = parent.rpartition(".")[0]
    return mapping[parent].joinpath(*package[len(parent) :].split(".")[1:])


def modules() -> list[Module]:
    """Every module under the mapped folders, in order of name, imported or not."""
    found = []
    for package, folder in package_dirs().items():
        for path in sorted(folder.rglob("*.py")):
            inner = path.relative_to(folder).with_suffix("").parts
            if inner[-1] == "__init__":
                inner = inner[:-1]
            found.append(Module(".".join((package, *inner)), path))
    return sorted(found, key=lambda module: module.name)


def repository_files(*suffixes: str) -> list[Path]:
    """Every file of the checkout with one of these suffixes (all files when none is given).

    Build outputs, caches and virtual environments are left out. Hidden folders are searched:
    the workflow files are ours too.
    """
    found = []
    folders = [ROOT]
    while folders:
        for path in folders.pop().iterdir():
            if path.is_dir() and not path.is_symlink():
                if not _is_skipped(path):
                    folders.append(path)
            elif not suffixes or path.suffix in suffixes:
                found.append(path)
    return sorted(found)


def _is_skipped(folder: Path) -> bool:
    name = folder.name
    return name in _SKIPPED or name.endswith(("_cache", ".egg-info"))
