"""The cache directory of compiled kernels: never stale, never shared, never fatal."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

from mltwin.sim import cachedir
from mltwin.sim.jit import JIT_DISABLED

NEEDS_JIT = pytest.mark.skipif(JIT_DISABLED, reason="needs the compiler")
HELPER = "from mltwin.sim.jit import handler\n\n@handler\ndef factor():\n    return {}\n"
PROBE = """
from numba import int64
from mltwin.sim.jit import CACHE_DIR, kernel
from .helper import factor

@kernel(int64(int64))
def probe(x):
    return x * factor()

print(probe(10), sum(probe.stats.cache_hits.values()))
"""


@pytest.fixture
def checkout(tmp_path):
    """A copy of the package with a kernel in one file and its helper in another."""
    root = tmp_path / "tree"
    for folder in ("mltwin", "sim"):
        source = cachedir.PACKAGE_ROOT / folder
        shutil.copytree(source, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "pyproject.toml").touch()
    (root / "policies").mkdir()
    (root / "policies" / "__init__.py").touch()
    (root / "policies" / "helper.py").write_text(HELPER.format(2))
    (root / "policies" / "probe.py").write_text(PROBE)
    return root


def run_probe(root, **environment):
    """(result, cache hits) of the kernel in a fresh process."""
    clean = {k: v for k, v in os.environ.items() if "NUMBA_CACHE_DIR" not in k}
    done = subprocess.run(
        [sys.executable, "-B", "-c", "import mltwin.policies.probe"],
        cwd=root,
        env={**clean, "MLTWIN_CACHE_DIR": str(root / "cache"), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(map(int, done.stdout.split()))


@NEEDS_JIT
def test_edited_helper_takes_effect_at_once(checkout):
    helper = checkout / "policies" / "helper.py"
    assert run_probe(checkout) == (20, 0)
    assert run_probe(checkout) == (20, 1)
    helper.write_text(HELPER.format(3))
    assert run_probe(checkout) == (30, 0)
    helper.write_text(HELPER.format(2))
    assert run_probe(checkout) == (20, 1), "the old state finds its old entries"


@pytest.mark.slow
@NEEDS_JIT
def test_without_our_directory_the_same_edit_is_missed(checkout):
    """The control: the hazard that the directory guards against is real."""
    fixed = {"NUMBA_CACHE_DIR": str(checkout / "fixed")}
    assert run_probe(checkout, **fixed) == (20, 0)
    (checkout / "policies" / "helper.py").write_text(HELPER.format(3))
    value, _ = run_probe(checkout, **fixed)
    if value == 30:
        pytest.skip("this Numba notices edits of helpers in other files")
    assert value == 20


@NEEDS_JIT
def test_no_writable_place_at_all_still_compiles(checkout):
    nowhere = {"MLTWIN_CACHE_DIR": "/proc/none", "TMPDIR": "/proc/none"}
    code = (
        "import tempfile; tempfile.gettempdir = lambda: '/proc/none'\n"
        "import mltwin.sim.jit as jit; assert jit.CACHE_DIR is None, jit.CACHE_DIR\n"
        "import mltwin.policies.probe"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=checkout,
        env={**{k: v for k, v in os.environ.items() if "NUMBA_CACHE_DIR" not in k}, **nowhere},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["20", "0"]


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty user cache and no choice made yet."""
    monkeypatch.setenv("MLTWIN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for variable in ("NUMBA_CACHE_DIR", "MLTWIN_NUMBA_CACHE_DIR"):
        monkeypatch.setenv(variable, "")
    numba = sys.modules["numba"]
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)
    return tmp_path / "cache" / "mltwin"


def test_directory_is_private_and_named_by_the_hash(own_cache):
    directory = cachedir.prepare_cache()
    assert directory == own_cache / cachedir.kernel_hash()[:16]
    assert os.environ["NUMBA_CACHE_DIR"] == str(directory)
    assert str(directory) == sys.modules["numba"].config.CACHE_DIR
    for path in (own_cache, directory):
        assert path.stat().st_mode & 0o777 == 0o700


def test_explicit_directory_of_the_user_is_left_alone(own_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    assert cachedir.prepare_cache() == tmp_path / "mine"
    assert not own_cache.exists() and os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "mine")


def test_directory_inherited_from_our_parent_process_is_chosen_anew(own_cache, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/somewhere/old")
    monkeypatch.setenv("MLTWIN_NUMBA_CACHE_DIR", "/somewhere/old")
    assert cachedir.prepare_cache() == own_cache / cachedir.kernel_hash()[:16]


def test_old_directories_are_pruned(own_cache):
    now = time.time()
    ages_h = {"a" * 16: 0.5, "b" * 16: 0.9, "c" * 16: 2, "d" * 16: 30, "e" * 16: 400, "traces": 900}
    for name, age in ages_h.items():
        (own_cache / name / "sub").mkdir(parents=True)
        (own_cache / name / "sub" / "entry.nbi").touch()
        os.utime(own_cache / name, (now - 3600 * age,) * 2)
    current = cachedir.prepare_cache()
    left = {path.name for path in own_cache.iterdir()}
    assert left == {current.name, "a" * 16, "b" * 16, "traces"}


def test_newest_three_are_kept_however_old(own_cache):
    for days, name in enumerate(["1" * 16, "2" * 16, "3" * 16, "4" * 16], start=1):
        (own_cache / name).mkdir(parents=True)
        os.utime(own_cache / name, (time.time() - 86400 * days,) * 2)
    current = cachedir.prepare_cache()
    assert {p.name for p in own_cache.iterdir()} == {current.name, "1" * 16, "2" * 16}


def test_unwritable_cache_falls_back_to_a_private_temporary_one(own_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("MLTWIN_CACHE_DIR", "/proc/none")
    directory = cachedir.prepare_cache()
    assert directory.parent == tmp_path / f"mltwin-{os.getuid()}"
    assert directory.parent.stat().st_mode & 0o777 == 0o700


def test_file_in_the_way_falls_back_too(own_cache, tmp_path):
    (tmp_path / "cache").touch()
    assert cachedir.prepare_cache().parent == tmp_path / f"mltwin-{os.getuid()}"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_read_only_home_falls_back(own_cache, tmp_path):
    own_cache.parent.mkdir(mode=0o500)
    assert cachedir.prepare_cache().parent == tmp_path / f"mltwin-{os.getuid()}"


@pytest.mark.parametrize("trap", ["writable by all", "link"])
def test_directory_that_others_control_is_not_used(own_cache, tmp_path, trap):
    own_cache.parent.mkdir()
    if trap == "link":
        (tmp_path / "theirs").mkdir()
        own_cache.symlink_to(tmp_path / "theirs")
    else:
        own_cache.mkdir()
        own_cache.chmod(0o777)
    assert cachedir.prepare_cache().parent == tmp_path / f"mltwin-{os.getuid()}"


def test_directory_of_another_user_is_not_used(own_cache, monkeypatch):
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    assert cachedir.prepare_cache() is None


def test_hash_covers_sources_versions_and_options(monkeypatch, tmp_path):
    def fresh():
        cachedir.source_hash.cache_clear()
        cachedir.kernel_hash.cache_clear()
        return cachedir.source_hash(), cachedir.kernel_hash()

    monkeypatch.setattr(cachedir, "PACKAGE_ROOT", tmp_path)
    (tmp_path / "models" / "deep").mkdir(parents=True)
    (tmp_path / "models" / "deep" / "a.py").write_text("x = 1\n")
    seen = [fresh()]
    assert re.fullmatch("[0-9a-f]{64}", seen[0][0]) and re.fullmatch("[0-9a-f]{64}", seen[0][1])
    assert fresh() == seen[0]
    (tmp_path / "models" / "deep" / "a.py").write_text("x = 2\n")
    seen.append(fresh())
    (tmp_path / "models" / "deep" / "a.py").rename(tmp_path / "models" / "deep" / "b.py")
    seen.append(fresh())
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "page.py").write_text("no kernel\n")
    assert fresh() == seen[-1]
    monkeypatch.setattr(cachedir, "_version", lambda package: "9.9")
    seen.append(fresh())
    monkeypatch.setattr(cachedir, "_cpu_name", lambda: "abacus")
    seen.append(fresh())
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    seen.append(fresh())
    assert len({kernel for _, kernel in seen}) == len(seen) == 6
    assert len({source for source, _ in seen}) == 3
    monkeypatch.undo()
    fresh()
