"""A sixth system in thirty lines gets files, runs, comparisons, the store and plots for free."""

from typing import Literal

import numpy as np
import pytest
from pydantic import Field

import mltwin as mt
from mltwin.scenario import system_class
from mltwin.sim.rng_arrays import SERVICE, uniforms


class CoinScenario(mt.Scenario):
    """So many flips of a coin that may be biased."""

    system: Literal["coin"] = "coin"
    flips: int = Field(100, ge=1)
    heads: float = Field(0.5, ge=0, le=1)

    def simulate(self, seed: int, **options: object) -> mt.Result:
        """Flip; the longest run of heads is the statistic of interest."""
        up = uniforms(seed, SERVICE, np.arange(self.flips)) < self.heads
        ends = np.flatnonzero(np.diff(np.r_[0, up.astype(int), 0]))
        runs = ends[1::2] - ends[::2]
        return mt.Result(
            metrics={"heads": float(up.sum()), "longest_run": float(runs.max(initial=0))},
            tables={"flips": {"up": up.astype(np.int8)}},
        )


def test_it_loads_and_saves(tmp_path) -> None:
    path = tmp_path / "coin.toml"
    path.write_text('system = "coin"\nflips = 50\n')
    scenario = mt.Scenario.load(path)
    assert isinstance(scenario, CoinScenario) and scenario.name == "coin"
    scenario.save(tmp_path / "again.toml")
    assert mt.Scenario.load(tmp_path / "again.toml") == scenario
    assert system_class("coin") is CoinScenario


def test_it_runs_and_is_deterministic() -> None:
    first, second = mt.run(CoinScenario(), seed=3), mt.run(CoinScenario(), seed=3)
    assert first.digest == second.digest and first.seed == 3
    assert first.digest != mt.run(CoinScenario(), seed=4).digest
    assert first.summary() == first.metrics
    assert "longest_run" in str(first.table())
    assert first.params() == {"system": "coin", "name": "", "seed": 0, "flips": 100, "heads": 0.5}


def test_it_is_stored_and_read_back(tmp_path) -> None:
    result = CoinScenario(flips=20).run(1)
    folder = result.save(tmp_path)
    for place in (folder, tmp_path):
        back = mt.Result.load(place)
        assert back.metrics == result.metrics and back.digest == result.digest
        assert back.scenario == result.scenario and back.seed == 1
    assert list(back.frame("flips")["up"]) == list(result.tables["flips"]["up"])


def test_it_is_compared(tmp_path) -> None:
    fair, biased = CoinScenario(name="fair"), CoinScenario(name="biased", heads=0.7)
    compared = mt.compare([fair, biased], seeds=range(5), workers=2)
    assert compared.names == ["fair", "biased"]
    assert len(compared.values("biased", "heads")) == 5
    found = compared.difference("biased", "heads")
    by_hand = compared.values("biased", "heads") / compared.values("fair", "heads") - 1
    assert found.estimate == pytest.approx(by_hand.mean()) and found.low > 0
    assert compared.difference("fair", "heads").estimate == 0
    assert "biased" in compared.table().markdown()
    compared.plot(tmp_path / "coins.svg")
    assert (tmp_path / "coins.svg").read_text().startswith("<?xml")


def test_stored_runs_are_compared_as_they_are(tmp_path) -> None:
    folder = CoinScenario(name="kept").run(2).save(tmp_path)
    compared = mt.compare([folder, CoinScenario(name="new")], seeds=[2])
    assert compared.values("kept", "heads") == compared.values("new", "heads")


def test_comparing_keeps_each_run(tmp_path) -> None:
    mt.compare([CoinScenario(), CoinScenario(flips=7)], seeds=[0, 1], store=tmp_path)
    assert len(list(tmp_path.glob("*/run.json"))) == 4


def test_names_are_made_unique() -> None:
    compared = mt.compare([CoinScenario(name="a"), CoinScenario(name="a", flips=5)])
    assert compared.names == ["a #1", "a #2"]


def test_it_plots(tmp_path) -> None:
    CoinScenario().run().plot(tmp_path / "flips.png")
    assert (tmp_path / "flips.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_to_compare() -> None:
    with pytest.raises(mt.InputError, match="nothing to compare"):
        mt.compare([])


def test_a_system_without_simulate_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Scenario"):
        mt.Scenario().run()


def test_damaged_runs_are_refused(tmp_path) -> None:
    folder = CoinScenario().run().save(tmp_path)
    with pytest.raises(mt.InputError, match="there is no run"):
        mt.Result.load(tmp_path / "elsewhere")
    table = folder / "flips.parquet"
    table.write_bytes(table.read_bytes()[:-10])
    with pytest.raises(mt.InputError, match="checksum"):
        mt.Result.load(folder)


def test_a_folder_of_several_runs_must_be_named(tmp_path) -> None:
    CoinScenario().run().save(tmp_path)
    CoinScenario().run(1).save(tmp_path)
    with pytest.raises(mt.InputError, match="holds 2 runs"):
        mt.Result.load(tmp_path)
