"""Jobs in real worker processes: they run, fail in one line, stop at once, and stay apart."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mltwin.app.explorer import jobs, workspace
from mltwin.app.explorer.pool import Pool

WAIT_S = 120.0  # the kernel may have to be compiled first
SLOW = """
system = "serving"
[workload]
requests = 200000000
trace = { requests = 200000000, arrivals = { process = "poisson", rate_per_s = 50.0 } }
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """One workspace and its workers for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(workspace.VARIABLE, str(tmp_path_factory.mktemp("jobs")))
        jobs.the_pool.cache_clear()
        yield jobs.the_pool()
        jobs.the_pool().close()
        jobs.the_pool.cache_clear()
        jobs._jobs.clear()


@pytest.fixture
def pool(shared: Pool, place: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setenv(workspace.VARIABLE, str(shared.log.parent))
    monkeypatch.setattr(shared, "most", shared.most)
    return shared


@pytest.fixture
def scenario_text() -> str:
    return 'system = "serving"\n[workload]\nrequests = 60\nrate = 8.0\n'


def wait_for(job: jobs.Job, state: str = "done") -> jobs.Job:
    assert job.wait(WAIT_S), job.text
    assert job.state == state, job.error
    return job


def wait_until(condition: object, seconds: float = WAIT_S) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_job_does_what_the_command_line_does(pool: Pool, scenario_text: str) -> None:
    job = jobs.start(
        "serving",
        ["run", "{in}/s.toml", "--out", "{out}", "--format", "json", "--progress-json"],
        title="x",
        files={"s.toml": scenario_text},
    )
    wait_for(job)
    shown = json.loads(job.stdout())
    again = subprocess.run(
        [
            sys.executable,
            "-m",
            "mltwin",
            "run",
            str(job.folder / "in" / "s.toml"),
            "--format",
            "json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown == json.loads(again.stdout)
    assert job.share == 1.0 and not job.error
    assert [p.name for p in job.out.glob("*/run.json")] == ["run.json"]


def test_a_wrong_command_ends_in_one_line(pool: Pool) -> None:
    job = wait_for(jobs.start("serving", ["run", "no-such-file.toml"], title="x"), "failed")
    assert "no such file" in job.error and "\n" not in job.error and job.code == 2
    job = wait_for(jobs.start("serving", ["run", "--nonsense"], title="x"), "failed")
    assert "nonsense" in job.error


def test_a_cancelled_job_frees_its_place(pool: Pool) -> None:
    job = jobs.start("serving", ["run", "{in}/s.toml"], title="x", files={"s.toml": SLOW})
    wait_until(lambda: job.state == "running")
    worker = next(w for w in pool._workers if w.task is job).process
    asked = time.monotonic()
    job.cancel()
    assert job.state == "cancelled" and time.monotonic() - asked < 1.0
    worker.wait(10)
    assert worker.pid not in [w.process.pid for w in pool._workers]
    wait_for(jobs.start("serving", ["policies", "hooks"], title="x"))


def test_a_job_has_a_time_limit(pool: Pool) -> None:
    job = jobs.start(
        "serving", ["run", "{in}/s.toml"], title="x", files={"s.toml": SLOW}, limit_s=0.5
    )
    wait_for(job, "failed")
    assert "stopped after" in job.error


def test_a_job_has_a_memory_limit(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_memory_limit", lambda: 1 << 20)
    job = jobs.start("serving", ["run", "{in}/s.toml"], title="x", files={"s.toml": SLOW})
    wait_for(job, "failed")
    assert "of memory" in job.error


def test_a_dead_worker_is_told_and_replaced(pool: Pool) -> None:
    job = jobs.start("serving", ["run", "{in}/s.toml"], title="x", files={"s.toml": SLOW})
    wait_until(lambda: job.state == "running")
    os.kill(next(w for w in pool._workers if w.task is job).process.pid, 9)
    wait_for(job, "failed")
    assert "died" in job.error
    wait_for(jobs.start("serving", ["policies", "hooks"], title="x"))


def test_workers_end_with_the_server(tmp_path: Path) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "mltwin", "worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert worker.stdin is not None and worker.stdout is not None
    assert "ready" in worker.stdout.readline()
    (tmp_path / "out").mkdir()
    (tmp_path / "s.toml").write_text(SLOW)
    job = {"id": "a", "argv": ["run", str(tmp_path / "s.toml")], "folder": str(tmp_path)}
    worker.stdin.write(json.dumps(job) + "\n")
    worker.stdin.flush()
    wait_until(lambda: (tmp_path / "stderr").exists())
    worker.stdin.close()
    worker.wait(10)
    assert not (tmp_path / "exit").exists()


def test_jobs_are_found_by_their_id_alone(pool: Pool) -> None:
    job = wait_for(jobs.start("serving", ["policies", "hooks"], title="x"))
    assert jobs.find(job.id) is job
    for wrong in ("", "x", "../" + job.id, job.id[:-1], job.id + "A", workspace.new_token()):
        assert jobs.find(wrong) is None
    jobs._jobs.clear()  # a server that starts anew finds what had finished
    found = jobs.find(job.id)
    assert found is not None and found.state == "done" and found.stdout() == job.stdout()
    assert job.folder.stat().st_mode & 0o077 == 0


def test_old_folders_are_removed(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "KEPT", 2)
    made = [wait_for(jobs.start("serving", ["policies", "hooks"], title=str(i))) for i in range(2)]
    made[0].remember({"label": "kept"})
    made += [wait_for(jobs.start("serving", ["policies", "hooks"], title=str(i))) for i in range(3)]
    jobs.start("serving", ["policies", "hooks"], title="last")
    assert made[0].folder.exists() and not made[1].folder.exists()
    os.utime(made[-1].folder, (0, 0))
    jobs._prune(made[-1].folder.parent)
    assert not made[-1].folder.exists()


def test_a_full_queue_refuses(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    from mltwin.app.explorer import pool as pools

    monkeypatch.setattr(pools, "MOST_QUEUED", 0)
    job = wait_for(jobs.start("serving", ["policies", "hooks"], title="x"), "failed")
    assert "too many runs" in job.error


def test_a_worker_that_grew_is_replaced(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    from mltwin.app.explorer import pool as pools

    wait_for(jobs.start("serving", ["policies", "hooks"], title="x"))
    before = {worker.process.pid for worker in pool._workers}
    monkeypatch.setattr(pools, "RECYCLED_BYTES", 1)
    wait_for(jobs.start("serving", ["policies", "hooks"], title="x"))
    wait_until(lambda: not before <= {worker.process.pid for worker in pool._workers})


def test_keys_tell_commands_apart() -> None:
    assert jobs.key_of(["a"], {"f": "1"}) == jobs.key_of(("a",), {"f": "1"})
    assert jobs.key_of(["a"], {"f": "1"}) != jobs.key_of(["a"], {"f": "2"})
    assert jobs.key_of(["a", "b"]) != jobs.key_of(["ab"])
