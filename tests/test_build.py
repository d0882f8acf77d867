"""The package outside this checkout: uninstalled in another folder, as a wheel, as an sdist."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from source_tree import ROOT, modules, package_dirs, package_folder, pyproject, repository_files

# Imports every module named, without the editable install's import hook; each must come from here.
IMPORT_HERE = """
import importlib, sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
for name in sys.argv[2:]:
    file = importlib.import_module(name).__file__
    assert file.startswith(sys.argv[1]), (name, file)
"""
PACKAGES = sorted(module.name for module in modules() if module.is_package)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout's files in another place, where nothing is installed from it."""
    copy = tmp_path_factory.mktemp("checkout")
    for path in repository_files():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return copy


def python(
    *arguments: str, cwd: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run this interpreter; its output is shown when it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_an_uninstalled_checkout_imports_itself(checkout: Path) -> None:
    python("-c", IMPORT_HERE, str(checkout), *PACKAGES, cwd=checkout)


def test_an_uninstalled_checkout_runs(checkout: Path) -> None:
    assert "run" in python("-m", "mltwin", "--help", cwd=checkout).stdout


def expected_files() -> set[str]:
    """Every module and data file, by its path in an installed package."""
    files = {
        str(Path(*module.name.split("."), "__init__.py" if module.is_package else "")).rstrip("/")
        + ("" if module.is_package else ".py")
        for module in modules()
    }
    for package, patterns in pyproject()["tool"]["setuptools"]["package-data"].items():
        folder = package_folder(package)
        for pattern in patterns:
            inner = Path(*package.split("."))
            files |= {str(inner / path.relative_to(folder)) for path in folder.glob(pattern)}
    return files


def build(checkout: Path, kind: str, out: Path) -> Path:
    """Build a "wheel" or "sdist" with the setuptools at hand and return its file."""
    script = f"import sys, setuptools.build_meta as b; print(b.build_{kind}(sys.argv[1]))"
    done = python("-c", script, str(out), cwd=checkout)
    return out / done.stdout.split()[-1]


@pytest.mark.slow
def test_wheel_holds_every_file(checkout: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(build(checkout, "wheel", tmp_path)) as wheel:
        names = set(wheel.namelist())
        installed = tmp_path / "site"
        wheel.extractall(installed)
    assert expected_files() <= names
    for text in ("LICENSE", "NOTICE"):
        assert any(name.endswith(f"licenses/{text}") for name in names)
    strangers = {name.split("/")[0] for name in names} - {"mltwin"}
    assert all(name.endswith(".dist-info") for name in strangers), strangers
    python(
        *("-c", IMPORT_HERE, str(installed), *PACKAGES),
        cwd=tmp_path,
        environment={"PYTHONPATH": str(installed)},
    )


@pytest.mark.slow
def test_sdist_builds_the_same_wheel(checkout: Path, tmp_path: Path) -> None:
    with tarfile.open(build(checkout, "sdist", tmp_path)) as archive:
        archive.extractall(tmp_path / "sdist", filter="data")
    (source,) = (tmp_path / "sdist").iterdir()
    for folder in package_dirs().values():
        assert (source / folder.relative_to(ROOT)).is_dir(), "the sdist keeps the folder map"
    with zipfile.ZipFile(build(source, "wheel", tmp_path)) as wheel:
        assert expected_files() <= set(wheel.namelist())
