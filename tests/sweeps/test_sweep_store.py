"""A sweep's folder: what was stored is not run again; damage and other code are told."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from flipping import FlipScenario
from hypothesis import given
from hypothesis import strategies as st

import mltwin as mt
from mltwin.sweeps import identity, store
from mltwin.sweeps.parts import read_part, to_rows, to_table, write_part
from mltwin.sweeps.run import sweep
from mltwin.sweeps.store import SweepStore, read_rows
from mltwin.sweeps.work import Row

SPACE = {"flips": [5, 10, 20], "heads": [0.2, 0.8]}


def run(folder: Path, base: FlipScenario | None = None, **options: Any) -> mt.Sweep:
    return sweep(base or FlipScenario(name="coin"), SPACE, seeds=2, store=folder, **options)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each run that is made."""
    path = tmp_path / "log"
    monkeypatch.setenv("FLIP_LOG", str(path))
    return path


def logged(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def row(seed: int, **metrics: float) -> Row:
    return Row(seed, metrics, f"{seed:064x}", 0.5, "")


def key(i: int) -> str:
    return hashlib.sha256(str(i).encode()).hexdigest()


@given(
    st.lists(
        st.builds(
            Row,
            st.integers(0, 2**62),
            st.dictionaries(st.sampled_from(["a", "b ü", "c.d"]), st.floats(allow_nan=False)),
            st.text("0123456789abcdef", max_size=64),
            st.floats(0, 1e6),
            st.text(max_size=50),
        ),
        max_size=20,
    )
)
def test_rows_come_back_bit_for_bit(rows: list[Row]) -> None:
    keyed = [(key(i), one) for i, one in enumerate(rows)]
    assert to_rows(to_table(keyed)) == keyed


def test_a_finished_sweep_is_not_run_again(tmp_path: Path, log: Path) -> None:
    base = FlipScenario()
    first = run(tmp_path / "s", base)
    again = run(tmp_path / "s", base)
    assert logged(log) == 12 and again.digest == first.digest
    assert "12 of 12 runs were there already" in again.notices
    loaded = mt.Sweep.load(tmp_path / "s")
    assert loaded.digest == first.digest and loaded.rows == again.rows
    assert loaded.frame().equals(first.frame())
    assert str(loaded.table()) == str(first.table())


def test_more_points_and_seeds_run_only_what_is_new(tmp_path: Path, log: Path) -> None:
    base = FlipScenario()
    run(tmp_path / "s", base)
    sweep(base, {**SPACE, "flips": [5, 10, 20, 40]}, seeds=3, store=tmp_path / "s")
    assert logged(log) == 24


def test_one_folder_serves_the_searches_too(tmp_path: Path, log: Path) -> None:
    from mltwin.sweeps.jobs import Job, run_jobs

    scenario = FlipScenario()
    run_jobs([Job(scenario, 0)], store=tmp_path / "s")
    found = sweep(scenario, {"flips": [100, 50]}, store=tmp_path / "s")
    assert logged(log) == 2 and found.done == 2


def test_parts_are_plain_parquet(tmp_path: Path) -> None:
    found = run(tmp_path)
    (path,) = tmp_path.glob("rows-*.parquet")
    table = pq.read_table(path)
    assert len(table) == 12 and {"key", "seed", "digest", "metric.up"} <= set(table.column_names)
    manifest = json.loads((tmp_path / "sweep.json").read_text())
    assert manifest["parts"][0]["rows"] == 12
    assert hashlib.sha256(path.read_bytes()).hexdigest() == manifest["parts"][0]["sha256"]
    assert sorted(table["digest"].to_pylist()) == sorted(found.frame()["digest"])


@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "empty"])
def test_damaged_rows_are_set_aside_and_run_again(tmp_path: Path, damage: str) -> None:
    first = run(tmp_path)
    (path,) = tmp_path.glob("rows-*.parquet")
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    new = {"cut": bytes(content[:-9]), "flip": bytes(content), "empty": b""}.get(damage)
    path.write_bytes(new) if new is not None else path.unlink()
    if damage != "gone":
        partial = mt.Sweep.load(tmp_path)
        assert partial.done == 0 and path.name in partial.notices[0]
    again = run(tmp_path)
    assert again.digest == first.digest
    assert path.name in again.notices[0] and "12 runs are made again" in again.notices[0]
    assert path.with_name(f"{path.name}.damaged").exists() == (damage != "gone")
    assert run(tmp_path).notices == ["12 of 12 runs were there already"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "other"}', '{"format": "mltwin.sweep"}']
)
def test_a_damaged_manifest_is_refused_and_can_be_made_again(
    tmp_path: Path, log: Path, text: str
) -> None:
    base = FlipScenario()
    run(tmp_path / "s", base)
    manifest = tmp_path / "s" / "sweep.json"
    manifest.write_text(text)
    for look in (lambda: run(tmp_path / "s", base), lambda: mt.Sweep.load(tmp_path / "s")):
        with pytest.raises(mt.InputError, match=r"sweep\.json"):
            look()
    manifest.unlink()
    again = run(tmp_path / "s", base)
    assert logged(log) == 12 and "found by the names" in again.notices[0]


@pytest.mark.parametrize("text", ["", "{}", '{"format": "mltwin.study", "format_version": 1}', "3"])
def test_a_damaged_record_is_told_and_written_anew(tmp_path: Path, text: str) -> None:
    first = run(tmp_path)
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(mt.InputError, match=r"study\.json"):
        mt.Sweep.load(tmp_path)
    assert run(tmp_path).digest == first.digest
    assert mt.Sweep.load(tmp_path).digest == first.digest


def test_left_overs_of_a_killed_writer_are_swept_out(tmp_path: Path) -> None:
    run(tmp_path)
    orphan = write_part(tmp_path, 9, to_table([(key(1), row(1))]))
    half = tmp_path / ".rows-000010-0123456789abcdef.parquet.1234"
    half.write_bytes(b"half")
    run(tmp_path)
    assert not (tmp_path / orphan.file).exists() and not half.exists()


def test_no_sweep_here(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(mt.InputError, match="there is no sweep"):
            mt.Sweep.load(place)


def test_a_second_writer_is_refused_and_readers_are_not(tmp_path: Path) -> None:
    with SweepStore(tmp_path) as one:
        one.append([(key(0), row(0, up=1.0))])
        with pytest.raises(mt.InputError, match="is being written by process"):
            SweepStore(tmp_path)
        one.flush()
        assert read_rows(tmp_path, [key(0), key(1)]) == ([row(0, up=1.0), None], [])
    SweepStore(tmp_path).close()


def test_rows_are_on_disk_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FLUSH_S", 0.05)
    with SweepStore(tmp_path) as kept:
        kept.append([(key(0), row(0))])
        found: list[Row | None] = []
        until = time.monotonic() + 10
        while found != [row(0)] and time.monotonic() < until:
            time.sleep(0.02)
            found = read_rows(tmp_path, [key(0)])[0]
        assert found == [row(0)]


def test_small_parts_are_merged_without_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_MOST_SMALL_PARTS", 3)
    with SweepStore(tmp_path) as kept:
        for i in range(20):
            kept.append([(key(i), row(i, **{f"m{i % 3}": float(i)}))])
            kept.append([(key(i), row(99))])  # a key is stored once
            kept.flush()
        assert len(list(tmp_path.glob("rows-*.parquet"))) <= 4
    with SweepStore(tmp_path) as kept:
        keys = [key(i) for i in range(20)]
        assert kept.known(keys) == [row(i, **{f"m{i % 3}": float(i)}) for i in range(20)]
        assert len(kept) == 20


def test_forgetting_rows(tmp_path: Path) -> None:
    with SweepStore(tmp_path) as kept:
        kept.append([(key(i), row(i)) for i in range(4)])
        kept.forget([key(1), key(7)])
        assert kept.known([key(0), key(1)]) == [row(0), None]
        kept.append([(key(1), row(11))])
    assert read_rows(tmp_path, [key(1), key(3)])[0] == [row(11), row(3)]


def test_failed_runs_are_retried_only_when_asked(tmp_path: Path, log: Path) -> None:
    base = FlipScenario(fail_on=10)
    assert len(run(tmp_path / "s", base).failures) == 4
    assert len(run(tmp_path / "s", base).failures) == 4 and logged(log) == 12
    run(tmp_path / "s", base, retry_failed=True)
    assert logged(log) == 16
    loaded = mt.Sweep.load(tmp_path / "s")
    assert loaded.done == 12 and len(loaded.failures) == 4


def test_other_code_starts_anew_and_says_so(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = FlipScenario()
    first = run(tmp_path / "s", base)
    from mltwin.sweeps import run as module

    for place in (identity, module):
        monkeypatch.setattr(place, "code_hash", lambda: "other")
    again = run(tmp_path / "s", base)
    assert logged(log) == 24 and again.digest == first.digest
    assert again.notices[0] == "the code has changed: 12 stored runs are made again"


def test_a_changed_file_starts_anew_and_says_so(tmp_path: Path, log: Path) -> None:
    table = tmp_path / "trace.csv"
    table.write_text("1,2\n")
    base = FlipScenario(table=str(table))
    assert list(identity.files_of(base)) == [str(table)]
    run(tmp_path / "s", base)
    table.write_text("1,33\n")
    assert "a file that the scenario names has changed" in run(tmp_path / "s", base).notices[0]
    assert logged(log) == 24


def test_a_key_is_of_what_shapes_the_run(tmp_path: Path) -> None:
    policy = tmp_path / "mine.py"
    policy.write_text("def route(): ...\n")
    base = FlipScenario()
    keys = {
        identity.point_key(base),
        identity.point_key(base.set("flips", 7)),
        identity.point_key(base.set("table", f"{policy}:route")),
    }
    assert len(keys) == 3
    assert identity.point_key(base.set("name", "x").set("seed", 3)) == identity.point_key(base)
    before = identity.point_key(base.set("table", f"{policy}:route"))
    policy.write_text("def route(): return 1\n")
    assert identity.point_key(base.set("table", f"{policy}:route")) != before


def test_a_folder_is_known_by_its_listing(tmp_path: Path) -> None:
    folder = tmp_path / "pools"
    folder.mkdir()
    base = FlipScenario(table=str(folder), name=str(tmp_path))
    empty = identity.files_of(base)
    assert list(empty) == [str(folder)]  # a label names no file
    (folder / "a.json").write_text("{}")
    assert identity.files_of(base) != empty


def test_a_named_trace_is_in_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mltwin.workloads import catalogue

    place = tmp_path / "trace.csv"
    place.write_text("a")
    monkeypatch.setattr(catalogue, "locate", lambda name, verify=True: place)
    scenario = mt.ServingScenario().set("workload.trace", "azure-conv-2023")
    before = identity.files_of(scenario)
    assert list(before) == ["azure-conv-2023"]
    place.write_text("bc")
    assert identity.files_of(scenario) != before


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(mt.InputError, match="cannot be written"):
        run(tmp_path / "file" / "s")


def test_a_full_disk_is_told_and_the_rows_before_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SweepStore(tmp_path) as kept:
        kept.append([(key(0), row(0))])

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_part", full)
    with pytest.raises(mt.InputError, match="No space left"), SweepStore(tmp_path) as kept:
        kept.append([(key(1), row(1))])
    monkeypatch.undo()
    with SweepStore(tmp_path) as kept:
        assert kept.known([key(0), key(1)]) == [row(0), None]


def test_a_reader_follows_a_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SweepStore(tmp_path) as kept:
        kept.append([(key(0), row(0))])
    calls = []

    def once_gone(folder: Path, part: Any) -> Any:
        calls.append(part)
        if len(calls) == 1:
            raise FileNotFoundError
        return read_part(folder, part)

    monkeypatch.setattr(store, "read_part", once_gone)
    assert read_rows(tmp_path, [key(0)]) == ([row(0)], [])
