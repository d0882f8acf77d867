"""Populations: laws of speed and availability, correlation by choice, energy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.sim.errors import InputError
from mltwin.workloads.federated import energy, populations, skew, splits
from mltwin.workloads.federated.copula import PAIRS
from mltwin.workloads.federated.device_law import DeviceLaw, spearman
from mltwin.workloads.federated.device_law import fit as fit_device_law
from mltwin.workloads.federated.drawn import gaussians
from mltwin.workloads.federated.populations import population
from mltwin.workloads.federated.presences import PRESENCES, duty_of
from mltwin.workloads.federated.speeds import SPEEDS

N = 20_000
SAMPLES = np.arange(N) % 97 + 1


def speeds_of(law, count=N, seed=1):
    return population(np.ones(count, int), speed=law, seed=seed).s_per_sample


@pytest.mark.parametrize(
    ("law", "mean", "sd"),
    [
        ({"name": "homogeneous", "s_per_sample": 2.0}, 2.0, 0.0),
        ({"name": "uniform", "low": 1.0, "high": 3.0}, 2.0, 2 / np.sqrt(12)),
        ({"name": "normal", "mean": 2.0, "sd": 0.2}, 2.0, 0.2),
        ({"name": "exponential", "mean": 2.0}, 2.0, 2.0),
        ({"name": "exponential", "mean": 2.0, "least": 0.5}, 2.0, 1.0),
        ({"name": "log_normal", "median": 2.0, "sigma": 0.5}, 2 * np.exp(0.125), 1.2076),
        ({"name": "pareto", "least": 1.0, "shape": 5.0}, 1.25, 0.3227),
        ({"name": "two_speeds", "fast": 1.0, "slow": 5.0, "slow_share": 0.25}, 2.0, 1.732),
        ({"name": "spread", "slowest": 2.0, "percent": 80.0}, 1.2, 1.6 / np.sqrt(12)),
    ],
)
def test_laws_of_speed_have_their_moments(law, mean, sd) -> None:
    drawn = speeds_of(law)
    assert drawn.mean() == pytest.approx(mean, rel=0.02)
    assert drawn.std() == pytest.approx(sd, rel=0.05, abs=1e-9)


@pytest.mark.parametrize("name", sorted(set(SPEEDS) - {"file", "two_speeds", "spread"}))
def test_a_client_is_the_same_whatever_the_number_of_others(name: str) -> None:
    assert np.array_equal(speeds_of(name, 50), speeds_of(name, 500)[:50])
    few, many = (population(np.ones(n, int), speed=name, seed=4) for n in (50, 500))
    assert np.array_equal(few.up_bytes_per_s, many.up_bytes_per_s[:50])


@pytest.mark.parametrize("name", sorted(set(PRESENCES) - {"file"}))
def test_availability_is_keyed(name: str) -> None:
    a, b, c = (population(np.ones(300, int), availability=name, seed=s).availability
               for s in (1, 1, 2))  # fmt: skip
    for column in ("first", "begin", "end", "period", "trace", "offset"):
        assert np.array_equal(getattr(a, column), getattr(b, column))
    if name != "always":
        assert not (np.array_equal(a.begin, c.begin) and np.array_equal(a.offset, c.offset))


@pytest.mark.parametrize("name", sorted(set(PRESENCES) - {"file"}))
def test_the_first_clients_come_and_go_as_they_would_alone(name: str) -> None:
    law = {"name": name} if name in ("always", "cyclic") else {"name": name, "pool": 60}
    few, many = (population(np.ones(n, int), availability=law, seed=4).availability
                 for n in (40, 500))  # fmt: skip
    for client in range(40):
        seen = []
        for there in (few, many):
            trace = there.trace[client]
            rows = slice(*there.first[trace : trace + 2]) if trace >= 0 else slice(0, 0)
            seen.append(
                (there.begin[rows].tolist(), there.end[rows].tolist(), there.offset[client])
            )
        assert seen[0] == seen[1]


def test_what_no_correlation_names_stays_with_its_client() -> None:
    laws = {"speed": "fedscale", "availability": "flash_strict", "seed": 3}
    free = population(SAMPLES, **laws)
    tied = population(SAMPLES, correlation={"speed_data": 0.5}, **laws)
    assert np.array_equal(free.availability.trace, tied.availability.trace)
    assert not np.array_equal(free.s_per_sample, tied.s_per_sample)


def test_laws_of_availability_have_their_duty() -> None:
    ones = np.ones(1000, int)

    def duty(**law):
        return duty_of(population(ones, availability=law, seed=1).availability)

    assert (duty(name="always") == 1).all()
    assert duty(name="cyclic", duty=0.3) == pytest.approx(0.3)
    assert duty(name="bernoulli", probability=0.2).mean() == pytest.approx(0.2, abs=0.004)
    assert duty(name="markov", mean_on_s=600, mean_off_s=1800).mean() == pytest.approx(
        0.25, abs=6e-3
    )
    slotted = population(
        ones,
        availability={"name": "markov", "mean_on_s": 300, "mean_off_s": 600, "slot_s": 60},
        seed=1,
    ).availability
    inside = slotted.end < slotted.period[0]
    assert (slotted.begin % (60 * TICKS_PER_S) == 0).all()
    stays = (slotted.end - slotted.begin)[inside] / TICKS_PER_S
    assert stays.mean() == pytest.approx(300, rel=0.02)
    assert stays.std() == pytest.approx(np.sqrt(1 - 0.2) / 0.2 * 60, rel=0.03)  # geometric


def test_cyclic_beginnings_are_spread_as_asked() -> None:
    period = 86_400 * TICKS_PER_S
    for spread in (0.0, 0.25, 1.0):
        law = {"name": "cyclic", "duty": 0.5, "spread": spread}
        offset = population(np.ones(4000, int), availability=law).availability.offset
        begins = -offset % period  # when the first interval of each begins
        assert begins.max() <= spread * period
        assert begins.mean() == pytest.approx(spread * period / 2, rel=0.05, abs=1)


def test_each_client_has_its_own_probability() -> None:
    chance = np.linspace(0.05, 0.95, 300)
    law = {"name": "bernoulli", "probability": chance, "slots": 4000}
    seen = duty_of(population(np.ones(300, int), availability=law, seed=2).availability)
    assert np.abs(seen - chance).max() < 0.04
    many = np.linspace(0.05, 0.95, 9000)
    law = {"name": "bernoulli", "probability": many, "slots": 400, "pool": 100}
    seen = duty_of(population(np.ones(9000, int), availability=law, seed=2).availability)
    assert np.abs(seen - many).max() < 0.13 and seen.mean() == pytest.approx(0.5, abs=0.01)


def multiset(clients):
    there = clients.availability
    pairs = np.rec.fromarrays((there.trace, there.offset))
    devices = np.rec.fromarrays((clients.s_per_sample, clients.up_bytes_per_s))
    return np.sort(pairs), np.sort(devices)


def test_correlation_moves_who_has_what_and_nothing_else() -> None:
    laws = {"speed": "fedscale", "availability": "flash_strict", "seed": 3}
    free = population(SAMPLES, **laws)
    wanted = {
        "speed_data": 0.5,
        "speed_label": -0.3,
        "speed_availability": 0.4,
        "availability_data": 0.2,
        "availability_label": -0.6,
    }
    assert set(wanted) == set(PAIRS)
    label = np.random.default_rng(1).random(N)
    tied = population(SAMPLES, correlation=wanted, labels=label, **laws)
    for a, b in zip(multiset(free), multiset(tied), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(free.samples, tied.samples)
    known = {
        "speed": -tied.s_per_sample,
        "availability": duty_of(tied.availability),
        "data": SAMPLES,
        "label": label,
    }
    for pair, rho in wanted.items():
        a, b = pair.split("_")
        assert spearman(known[a], known[b]) == pytest.approx(rho, abs=0.025), pair
    assert abs(spearman(-free.s_per_sample, SAMPLES)) < 0.025


@settings(max_examples=25, deadline=None)
@given(st.floats(-1, 1), st.integers(0, 2**40))
def test_any_rank_correlation_is_reached(rho: float, seed: int) -> None:
    clients = population(
        np.arange(1, 4001), speed="exponential", correlation={"data_speed": rho}, seed=seed
    )
    assert spearman(-clients.s_per_sample, clients.samples) == pytest.approx(rho, abs=0.06)


def test_correlation_with_the_labels_of_a_real_split() -> None:
    pool = gaussians(4000, classes=10, features=3, seed=1)
    split = splits.dirichlet(pool, 800, 0.2, samples=30, seed=2)
    owned = skew.label_share(split, 3)
    slow = population(
        split.samples,
        speed="log_normal",
        correlation={"speed_label": -0.7},
        labels=owned,
        seed=2,
    )
    # Many clients have none of the class: equal ranks, so a little less than asked for is reached.
    assert -0.75 < spearman(-slow.s_per_sample, owned) < -0.6
    who = skew.owners(split, 3, 10)
    slower = populations.slowed(slow, who, 4.0)
    assert slower.s_per_sample[who] == pytest.approx(4 * slow.s_per_sample[who])
    assert (np.delete(slower.s_per_sample, who) == np.delete(slow.s_per_sample, who)).all()


def test_a_device_law_gives_back_what_it_was_fitted_to() -> None:
    true = DeviceLaw.from_dict(fit_device_law(SPEEDS["fedscale"](4000, seed=1)).to_dict())
    again = fit_device_law(true.draw(40_000, seed=2))
    for column, knots in true.quantiles.items():
        assert again.quantiles[column][1:-1] == pytest.approx(knots[1:-1], rel=0.1)
    tied = DeviceLaw(true.quantiles, 0.6, True)
    drawn = tied.draw(40_000, seed=3)
    assert spearman(drawn.s_per_sample, drawn.up_bytes_per_s) == pytest.approx(0.6, abs=0.01)
    assert np.array_equal(drawn.down_bytes_per_s, drawn.up_bytes_per_s)


def test_energy_goes_by_class_and_rate() -> None:
    clients = population(np.ones(900, int), speed="fedscale", energy="lte", seed=1)
    assert np.bincount(clients.group).tolist() == [300, 300, 300]
    assert clients.names == ("high", "mid", "low")
    fast, slow = clients.group == 0, clients.group == 2
    assert clients.s_per_sample[fast].max() <= clients.s_per_sample[slow].min()
    assert (clients.compute_w[slow] == 3.6).all() and (clients.memory_bytes[fast] == 8e9).all()
    mbit = np.minimum(clients.up_bytes_per_s, 20e6 / 8) * 8 / 1e6
    assert clients.send_w == pytest.approx(1.28804 + 0.43839 * mbit)
    with pytest.raises(InputError, match="no radio is called '6g'; use one of lte"):
        energy.with_energy(clients, radio="6g")


def refuse(**laws):
    return lambda: population(np.full(10, 5), **laws)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (refuse(speed="homogenous"), "no law is called 'homogenous'; did you mean 'homogeneous'?"),
        (refuse(speed={"name": "normal", "sigma": 2}), "normal has no parameter 'sigma'; it takes"),
        (refuse(speed={"name": "file"}), "file needs 'path'; give path"),
        (refuse(speed={"name": "normal", "sd": -1}), "sd is -1; give more than 0"),
        (refuse(speed={"name": "normal", "sd": "x"}), "speed.sd: sd is 'x'; give a number"),
        (refuse(speed={"name": "mobile", "network": "6g"}), "no bandwidth model is called '6g'"),
        (refuse(speed={"name": "file", "path": "x.json", "format": "y"}), "no format is called"),
        (refuse(speed={"name": "file", "path": "none.json"}), "none.json: no such file"),
        (refuse(availability={"name": "cyclic", "duty": 0}), "duty is 0; give 0 to 1"),
        (refuse(availability={"name": "bernoulli", "probability": 2}), "a probability is not"),
        (refuse(availability={"name": "flash_strict", "zones": 30}), "zones is 30"),
        (refuse(availability={"name": "markov", "slot_s": 1e9}), "slot_s is 1000000000.0"),
        (refuse(speed="normal", correlation={"speed_dat": 1}), "did you mean 'speed_data'?"),
        (refuse(speed="normal", correlation={"speed_label": 1}), "give data with classes"),
        (
            refuse(speed="normal", correlation={"speed_data": 0.3}),
            "the data of all clients is alike",
        ),
        (refuse(correlation={"speed_availability": 0.3}), "the speed of all clients is alike"),
        (refuse(speed="normal", correlation={"speed_data": 3}), "speed_data is 3; give -1 to 1"),
        (refuse(speed="normal", failure=2.0), "failure of client 0 is 2.0"),
    ],
)
def test_impossible_populations_are_one_line(make, says: str) -> None:
    with pytest.raises(InputError) as found:
        make()
    assert says in str(found.value) and "\n" not in str(found.value)


def test_correlations_that_cannot_hold_together_are_refused() -> None:
    with pytest.raises(InputError, match="cannot hold together; make one of them smaller"):
        population(
            np.arange(1, 500),
            speed="normal",
            availability="flash_strict",
            correlation={"speed_data": 0.9, "availability_data": 0.9, "speed_availability": -0.9},
        )


@pytest.mark.slow
def test_a_million_clients_cost_megabytes() -> None:
    there = population(
        np.full(10**6, 20), speed="fedscale", availability="flash_strict", seed=1
    ).availability
    stored = sum(getattr(there, c).nbytes for c in ("begin", "end", "period", "trace", "offset"))
    assert stored < 40e6 and len(there.trace) == 10**6
