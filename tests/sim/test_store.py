import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mltwin.sim.errors import InputError
from mltwin.sim.records import record, table
from mltwin.sim.runspec import RunSpec
from mltwin.sim.store import ResultStore, write_atomically

SPEC = RunSpec({"replicas": 2}, 7, "t" * 64, "k" * 64, {"numpy": "2"})
ROWS = record("ROWS", [("id", "i4"), ("finish", "i8")])
REQUESTS = table(1000, ROWS, id=np.arange(1000), finish=2**60 + np.arange(1000))
METRICS = {"p99_ttft_s": 0.25, "goodput": None, "counts": {"done": 1000}}


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "results")


def write(store, spec=SPEC, **tables):
    return store.write(spec, tables or {"requests": REQUESTS}, METRICS, "d" * 64)


def test_what_is_written_is_read_back(store):
    assert SPEC not in store and list(store) == []
    written = write(store)
    run = ResultStore(store.path).read(SPEC.hash)
    assert run == written == store.read(SPEC)
    assert SPEC in store and list(store) == [SPEC.hash]
    assert (run.spec, run.metrics, run.digest) == (SPEC, METRICS, "d" * 64)
    assert run.table("requests").column("finish").to_numpy().tolist() == REQUESTS.finish.tolist()
    names = sorted(path.name for path in run.folder.iterdir())
    assert names == ["requests.parquet", "run.json"]


def test_all_forms_of_tables(store):
    columns = {"id": np.arange(3), "name": ["a", "b", "c"]}
    run = write(store, a=pd.DataFrame(columns), b=pa.table(columns), c=columns, d=REQUESTS[:3])
    for name in "abc":
        assert run.table(name).to_pydict() == {"id": [0, 1, 2], "name": ["a", "b", "c"]}
    assert run.table("d").column_names == ["id", "finish"]


def test_files_are_zstd_parquet_and_plain_json(store):
    import pyarrow.parquet as pq

    run = write(store)
    metadata = pq.ParquetFile(run.folder / "requests.parquet").metadata
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    manifest = json.loads((run.folder / "run.json").read_text())
    assert manifest["spec"]["seed"] == 7 and manifest["metrics"] == METRICS


def test_same_run_gives_the_same_bytes(store, tmp_path):
    other = ResultStore(tmp_path / "other")
    first, second = write(store), write(other)
    for name in ("run.json", "requests.parquet"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_writing_again_replaces_and_remove_removes(store):
    write(store, old=REQUESTS, both=REQUESTS)
    run = write(store, both=REQUESTS[:5])
    assert run.table("both").num_rows == 5
    assert not (run.folder / "old.parquet").exists()
    store.remove(SPEC)
    store.remove(SPEC)
    assert SPEC not in store and not run.folder.exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "run.json").unlink(), "no such file; run it again"),
        (lambda folder: (folder / "run.json").write_text(""), "remove the folder"),
        (lambda folder: (folder / "run.json").write_text('{"format": "mltw'), "remove the folder"),
        (lambda folder: (folder / "run.json").write_text("[1, 2]"), "not a manifest"),
        (lambda folder: (folder / "run.json").write_text('{"a": 1}'), "not a manifest"),
        (lambda folder: (folder / "run.json").write_text("[" * 200_000), "remove the folder"),
        (lambda folder: (folder / "run.json").write_bytes(b"\xff\xfe\x00\x80"), "run.json"),
        (lambda folder: edit(folder, format_version=99), "format version 99"),
        (lambda folder: edit(folder, metrics=[]), "'metrics' is missing or no dict"),
        (lambda folder: edit(folder, spec={"seed": 1}), "spec:"),
        (lambda folder: edit(folder, spec={**vars(SPEC), "seed": 8}), "not that of its folder"),
    ],
)
def test_damaged_manifest_is_one_clear_error(store, damage, message):
    damage(write(store).folder)
    with pytest.raises(InputError, match=message) as caught:
        store.read(SPEC)
    assert "run.json" in str(caught.value) and "\n" not in str(caught.value)


def edit(folder, **changes):
    manifest = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**manifest, **changes}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PAR1" + bytes(1000)),
    ],
    ids=["missing", "truncated", "empty", "foreign"],
)
def test_damaged_table_is_one_clear_error(store, damage):
    run = write(store)
    damage(run.folder / "requests.parquet")
    with pytest.raises(InputError, match=r"requests\.parquet: .*run it again"):
        store.read(SPEC).table("requests")
    with pytest.raises(InputError, match="no table 'flows'; there are"):
        run.table("flows")


def test_bad_names_and_values_are_refused_before_anything_is_written(store):
    for name in ("../x", "A", "", "a.b", "x" * 65):
        with pytest.raises(InputError, match="table name"):
            store.write(SPEC, {name: REQUESTS}, {}, "")
    with pytest.raises(InputError, match=r"metrics\.p99: nan"):
        store.write(SPEC, {}, {"p99": float("nan")}, "")
    for name in ("..", "abc", "G" * 64):
        with pytest.raises(InputError, match="not the hash of a run"):
            store.read(name)
    assert not store.path.exists()


def test_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "below", "/proc/none"):
        with pytest.raises(InputError, match=r"cannot write: .*choose a folder"):
            write(ResultStore(place))
        with pytest.raises(InputError, match=r"run\.json"):
            ResultStore(place).read(SPEC)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_one_clear_error(tmp_path):
    (tmp_path / "fixed").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot write"):
        write(ResultStore(tmp_path / "fixed" / "results"))


def test_failed_write_leaves_the_file_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("before")

    def fail(file):
        file.write(b"half")
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        write_atomically(path, fail)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


CRASHER = """
import os, sys
import numpy as np
from mltwin.sim.runspec import RunSpec
from mltwin.sim.store import ResultStore

root, spec = sys.argv[1], RunSpec({}, 1, "t", "k", {})
ResultStore(f"{root}/warm").write(spec, {"t": {"x": np.zeros(9)}}, {}, "")  # imports, once
for point in range(1000):
    child = os.fork()
    if child == 0:
        left = [point]
        def guarded(call):
            def step(*arguments, **options):
                if left[0] == 0:
                    os._exit(9)
                left[0] -= 1
                return call(*arguments, **options)
            return step
        for name in ("replace", "fsync", "unlink", "open"):
            setattr(os, name, guarded(getattr(os, name)))
        store = ResultStore(f"{root}/{point}")
        store.write(spec, {"t": {"x": np.zeros(9)}}, {"version": 1}, "old")
        store.write(spec, {"t": {"x": np.ones(9)}, "u": {"x": np.ones(2)}}, {"version": 2}, "new")
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        print(point)
        break
"""


def test_crash_at_any_step_leaves_a_whole_run_or_none(tmp_path):
    """A child is ended at each call that touches the disk, through a write and a rewrite."""
    script = [sys.executable, "-c", CRASHER, str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    points = int(done.stdout)
    assert points > 15
    seen = []
    for point in range(points):
        store = ResultStore(tmp_path / str(point))
        for name in store:
            run = store.read(name)
            value = {"old": 0.0, "new": 1.0}[run.digest]
            assert run.table("t").column("x").to_pylist() == [value] * 9
            assert run.metrics["version"] == 1 + value
            seen.append(run.digest)
    assert "old" in seen and "new" in seen and len(seen) < points


KILLED = """
import sys
import numpy as np
from mltwin.sim.runspec import RunSpec
from mltwin.sim.store import ResultStore

store, data = ResultStore(sys.argv[1]), {"x": np.arange(300_000)}
for seed in range(10**6):
    store.write(RunSpec({}, seed % 5, "t", "k", {}), {"t": data}, {}, "")
    print(seed, flush=True)
"""


@pytest.mark.slow
def test_killed_writer_leaves_whole_runs(tmp_path):
    found = 0
    for trial in range(2):
        script = [sys.executable, "-c", KILLED, str(tmp_path / str(trial))]
        with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as writer:
            for _ in range(7):
                writer.stdout.readline()
            time.sleep(0.003 * trial)
            writer.send_signal(signal.SIGKILL)
        store = ResultStore(tmp_path / str(trial))
        for name in store:
            assert store.read(name).table("t").num_rows == 300_000
            found += 1
    assert found >= 6
