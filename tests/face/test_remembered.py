"""The bounded memory that threads share."""

import threading
import time

import pytest

import mltwin as mt
from mltwin.remembered import Remembered
from mltwin.serving_workload import make_trace


def test_each_is_made_once_though_many_ask() -> None:
    made: list[int] = []

    def slowly() -> str:
        made.append(1)
        time.sleep(0.05)
        return "value"

    memory: Remembered[str] = Remembered(len, 100)
    found: list[str] = []
    askers = [
        threading.Thread(target=lambda: found.append(memory.get("k", slowly))) for _ in range(8)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert found == ["value"] * 8 and made == [1]


def test_different_keys_do_not_wait_for_each_other() -> None:
    memory: Remembered[str] = Remembered(len, 100)
    both = threading.Barrier(2, timeout=5)

    def meet() -> str:
        both.wait()  # breaks unless both are being made at once
        return "x"

    threads = [threading.Thread(target=memory.get, args=(key, meet)) for key in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memory) == 2 and not both.broken


def test_the_longest_unused_are_forgotten() -> None:
    memory: Remembered[str] = Remembered(len, 10)
    made: list[str] = []

    def ask(key: str, weight: int) -> None:
        memory.get(key, lambda: made.append(key) or "x" * weight)  # type: ignore[func-returns-value]

    ask("a", 5)
    ask("b", 5)
    ask("a", 5)
    ask("c", 5)  # b goes
    ask("a", 5)
    ask("b", 5)
    assert made == ["a", "b", "c", "b"]
    ask("large", 50)  # kept alone, whatever it weighs
    assert len(memory) == 1


def test_a_failure_is_not_remembered() -> None:
    memory: Remembered[str] = Remembered(len, 10)

    def fail() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        memory.get("k", fail)
    assert len(memory) == 0 and memory.get("k", lambda: "yes") == "yes"


def test_traces_are_shared_where_they_are_the_same(tmp_path) -> None:
    base = mt.ServingScenario().set("workload.requests", 50)
    drawn = [make_trace(base, seed) for seed in (1, 2, 1)]
    assert drawn[0] is drawn[2] and drawn[0].sha256 != drawn[1].sha256
    assert make_trace(base.set("policy.priority", "shortest_prompt"), 1) is drawn[0]
    assert make_trace(base.set("workload.rate", 3.0), 1) is not drawn[0]
    file = tmp_path / "recorded.parquet"
    drawn[0].save(file)
    recorded = base.set("workload.trace", str(file))
    first = make_trace(recorded, 1)
    assert make_trace(recorded, 2) is first
    drawn[1].save(file)
    assert make_trace(recorded, 2).sha256 == drawn[1].sha256
    redrawn = recorded.set("workload.arrivals", "poisson").set("workload.rate", 2.0)
    assert make_trace(redrawn, 1).sha256 != make_trace(redrawn, 2).sha256
