"""The scripts that build and lock the environment: what they write and how they refuse."""

import subprocess
from pathlib import Path

import pytest
from lock import merge
from source_tree import ROOT, package_folder
from typecheck import link_tree


def test_lock_merges_equal_versions_into_one_line() -> None:
    assert merge({"3.11": {"b": "1", "A": "2"}, "3.12": {"A": "2", "b": "1"}}) == ["A==2", "b==1"]


def test_lock_marks_versions_by_python() -> None:
    resolved = {"3.9": {"n": "1"}, "3.10": {"n": "2", "old": "1"}, "3.11": {"n": "2"}}
    assert merge(resolved) == [
        'n==1 ; python_version < "3.10"',
        'n==2 ; python_version >= "3.10"',
        'old==1 ; python_version >= "3.10" and python_version < "3.11"',
    ]


def test_lock_refuses_a_gap() -> None:
    with pytest.raises(ValueError, match="gap"):
        merge({"3.11": {"n": "1"}, "3.12": {"n": "2"}, "3.13": {"n": "1"}})


def test_package_folder_follows_the_map() -> None:
    assert package_folder("mltwin") == ROOT / "mltwin"
    assert package_folder("mltwin.sim") == ROOT / "sim"
    assert package_folder("mltwin.models.gpu") == ROOT / "models" / "gpu"


def test_link_tree_has_the_shape_of_the_package() -> None:
    tree = link_tree() / "mltwin"
    assert (tree / "__init__.py").resolve() == ROOT / "mltwin" / "__init__.py"
    assert (tree / "sim" / "__init__.py").resolve() == ROOT / "sim" / "__init__.py"


def stub(folder: Path, name: str, body: str) -> None:
    """Put an executable of this name into a folder."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def bring_up(python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run tools/venv.sh with one candidate interpreter."""
    return subprocess.run(
        ["sh", str(ROOT / "tools" / "venv.sh"), str(folder / "venv")],
        env={"PATH": f"{folder}:/usr/bin:/bin", "PYTHON": python},
        capture_output=True,
        text=True,
    )


def test_venv_refuses_an_old_python(tmp_path: Path) -> None:
    stub(tmp_path, "old", "exit 1")
    done = bring_up("old", tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no Python 3.11 or later among: old" in done.stderr


def test_venv_names_the_package_that_is_missing(tmp_path: Path) -> None:
    stub(tmp_path, "bare", 'case "$2" in *ensurepip*) exit 1 ;; *print*) echo 3.12 ;; esac')
    done = bring_up("bare", tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "apt install python3.12-venv" in done.stderr


def test_venv_prefers_a_python_that_can_make_one(tmp_path: Path) -> None:
    stub(tmp_path, "bare", 'case "$2" in *ensurepip*) exit 1 ;; *print*) echo 3.12 ;; esac')
    stub(tmp_path, "whole", 'case "$2" in *print*) echo 3.13 ;; venv) exit 7 ;; esac')
    done = bring_up("bare whole", tmp_path)
    assert "with Python 3.13" in done.stdout
    assert "whole could not make" in done.stderr
