"""Chains of bandwidth: what they draw, what a fit gives back, and those that ship."""

import numpy as np
import pytest

from mltwin.models.network.bandwidth import CapacityTrace
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import TICKS_PER_S
from mltwin.workloads.bandwidth import read_bandwidth
from mltwin.workloads.bandwidth_synthetic import (
    SHIPPED,
    MarkovBandwidth,
    fit_bandwidth,
    shipped_bandwidth,
    shipped_source,
)

S = TICKS_PER_S


def steps_of(trace: CapacityTrace) -> np.ndarray:
    """The rate in the middle of each second."""
    return trace.at(np.arange(round(trace.duration_s)) * S + S // 2)


def test_two_states_stay_as_long_as_they_should() -> None:
    chain = MarkovBandwidth.two_states(10.0, 1.0, mean_good_s=8.0, mean_bad_s=2.0)
    assert chain.stationary() == pytest.approx([0.8, 0.2])
    assert chain.mean_bytes_per_s == pytest.approx(8.2)
    drawn = steps_of(chain.draw(200_000, seed=1))
    assert drawn.mean() == pytest.approx(8.2, rel=0.01)
    ends = np.flatnonzero(np.diff(drawn)) + 1
    stays = np.diff(np.concatenate(([0], ends, [len(drawn)])))
    good = drawn[np.concatenate(([0], ends))] == 10.0
    assert stays[good].mean() == pytest.approx(8.0, rel=0.03)
    assert stays[~good].mean() == pytest.approx(2.0, rel=0.03)


def test_a_draw_depends_on_seed_and_client_only() -> None:
    chain = shipped_bandwidth("5g")
    one, same, other, later = (
        chain.draw(60, seed, client) for seed, client in ((1, 2), (1, 2), (1, 3), (2, 2))
    )
    assert np.array_equal(one.bytes_per_s, same.bytes_per_s)
    assert not np.array_equal(steps_of(one), steps_of(other))
    assert not np.array_equal(steps_of(one), steps_of(later))
    longer = chain.draw(90, 1, 2)
    assert np.array_equal(steps_of(longer)[:60], steps_of(one))


def test_a_fit_gives_back_the_chain_it_was_drawn_from() -> None:
    true = MarkovBandwidth.make(
        [1e5, 5e5, 2e6], [[0.8, 0.2, 0.0], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]]
    )
    traces = [true.draw(5000, seed=9, client=c) for c in range(10)]
    fitted = fit_bandwidth(traces, levels=8)
    assert fitted.bytes_per_s == pytest.approx(true.bytes_per_s)
    assert fitted.transition == pytest.approx(true.transition, abs=0.02)
    assert fitted.mean_bytes_per_s == pytest.approx(true.mean_bytes_per_s, rel=0.05)


def test_a_constant_trace_is_a_chain_of_one_level() -> None:
    fitted = fit_bandwidth([CapacityTrace.make([0.0], [7.0], 10.0)])
    assert fitted.bytes_per_s.tolist() == [7.0] and fitted.transition.tolist() == [[1.0]]
    assert fitted.draw(5).at([0, 4 * S]).tolist() == [7.0, 7.0]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: MarkovBandwidth.make([1.0], [[0.9]]), "the chances after level 0 do not sum to 1"),
        (lambda: MarkovBandwidth.make([-1.0], [[1.0]]), "a rate is below 0 or none"),
        (lambda: MarkovBandwidth.make([1.0, 2.0], [[1.0]]), "(2,) rates, (1, 1) chances"),
        (lambda: MarkovBandwidth.make([1.0], [[1.0]], 0.0), "step_s is 0.0; give more than 0"),
        (lambda: MarkovBandwidth.two_states(2, 1, 0.5, 5), "a stay is shorter than a step"),
        (lambda: shipped_bandwidth("6g"), "no bandwidth model is called '6g'; use one of 3g"),
        (lambda: shipped_bandwidth("5g").draw(0), "duration_s is 0; give more than 0"),
        (lambda: fit_bandwidth([]), "no trace lasts two steps; give longer ones"),
    ],
)
def test_what_cannot_be_is_named(make, says: str) -> None:
    with pytest.raises(InputError) as raised:
        make()
    assert says in str(raised.value)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_chains_keep_the_mean_of_their_source(name: str) -> None:
    chain, source = shipped_bandwidth(name), shipped_source(name)
    assert chain.mean_bytes_per_s == pytest.approx(source["mean_bytes_per_s"], rel=0.03)
    assert source["files"] > 0 and source["source"]
    drawn = np.concatenate([steps_of(chain.draw(300, 4, client)) for client in range(200)])
    assert drawn.mean() == pytest.approx(chain.mean_bytes_per_s, rel=0.1)


FOLDERS = {
    "3g": "hsdpa_norway_cooked/*",
    "4g": "mahimahi/*LTE*.down",
    "5g": "ucc_5g_download/*/*.csv",
    "broadband": "fcc_broadband/*",
    "streaming": "puffer_2022-02-18/*",
}


@pytest.mark.data
@pytest.mark.parametrize("name", SHIPPED)
def test_a_refit_gives_the_shipped_chain(name: str, data_dir) -> None:
    paths = sorted((data_dir / "traces" / "network").glob(FOLDERS[name]))
    traces = [read_bandwidth(path) for path in paths]
    fitted, shipped = fit_bandwidth(traces), shipped_bandwidth(name)
    assert len(traces) == shipped_source(name)["files"]
    assert fitted.bytes_per_s == pytest.approx(shipped.bytes_per_s, rel=1e-5)
    assert fitted.transition == pytest.approx(shipped.transition, abs=1e-5)


@pytest.mark.data
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_chains_spread_as_their_source_does(name: str, data_dir) -> None:
    """The coefficient of variation of one-second rates: within 10 % of the traces'."""
    paths = sorted((data_dir / "traces" / "network").glob(FOLDERS[name]))
    real = np.concatenate([steps_of(read_bandwidth(p).resampled(1.0)) for p in paths])
    chain = shipped_bandwidth(name)
    share = chain.stationary()
    spread = np.sqrt(share @ (chain.bytes_per_s - chain.mean_bytes_per_s) ** 2)
    assert spread / chain.mean_bytes_per_s == pytest.approx(real.std() / real.mean(), rel=0.1)
