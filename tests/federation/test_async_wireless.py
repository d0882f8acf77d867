"""Radio links against closed forms."""

import math

import async_case as case
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import exp1

from mltwin.models.federation.tables import Clients
from mltwin.policies.federated import wireless
from mltwin.policies.federated.wireless import Radio, radio_links, rayleigh_outage
from mltwin.sim.errors import InputError


def test_rayleigh_outage_is_that_of_its_integral():
    """P(S F < theta (n + I G)) over exponential F and G, by quadrature."""
    signal, other, noise, theta = 3.0, 0.7, 0.2, 1.5

    def misses(g):
        return math.exp(-g) * (1 - math.exp(-theta * (noise + other * g) / signal))

    exact = quad(misses, 0, np.inf)[0]
    assert rayleigh_outage(signal, [other], noise, theta) == pytest.approx(exact, rel=1e-9)


def test_shares_of_fadings_below_the_threshold_agree_with_the_closed_form():
    radio = Radio(threshold=1.0, draws=20_000)
    clients = np.arange(40)
    distance = wireless.places(clients, 3, radio)
    signal = wireless.received_w(distance, radio.power_w, radio)
    others = wireless.interference(clients, 3, radio)
    sinr = signal[:, None] * wireless._fading(clients, 3, radio, 0)
    sinr /= radio.noise_w + sum(
        others[:, j, None] * wireless._fading(clients, 3, radio, 1 + j) for j in range(2)
    )
    exact = rayleigh_outage(signal, others, radio.noise_w, 1.0)
    np.testing.assert_allclose((sinr < 1.0).mean(axis=1), exact, atol=0.015)
    assert 0.005 < exact.min() < 0.1 < exact.max() < 0.6


def test_mean_rate_without_interference_is_the_ergodic_capacity():
    """B / ln 2 e^(1/g) E_1(1/g) bits a second at mean SNR g (Rayleigh)."""
    radio = Radio(interferers=0, threshold=0.0, draws=20_000, power_w=2e-3)
    links = radio_links(20, 5, radio)
    snr = wireless.received_w(links.distance_m, radio.power_w, radio) / radio.noise_w
    exact = radio.bandwidth_hz / math.log(2) * np.exp(1 / snr) * exp1(1 / snr) / 8
    np.testing.assert_allclose(links.up_bytes_per_s, exact, rtol=0.03)
    assert snr.min() < 0.5 < 2 < snr.max()


def test_strong_fading_shapes_approach_no_fading():
    radio = Radio(interferers=0, threshold=0.0, nakagami=60, draws=500)
    links = radio_links(10, 1, radio)
    snr = wireless.received_w(links.distance_m, radio.power_w, radio) / radio.noise_w
    still = radio.bandwidth_hz * np.log2(1 + snr) / 8
    np.testing.assert_allclose(links.up_bytes_per_s, still, rtol=0.01)


def test_places_are_uniform_over_the_disc():
    radio = Radio()
    distance = wireless.places(np.arange(20_000), 1, radio)
    ground = (distance**2 - radio.height_m**2) / radio.radius_m**2  # uniform on [0, 1)
    np.testing.assert_allclose(np.quantile(ground, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.01)


def test_a_client_is_the_same_however_many_there_are():
    few, many = radio_links(3, 7), radio_links(1200, 7)
    for name, column in few.columns.items():
        assert (column == many.columns[name][:3]).all()
    assert (few.up_bytes_per_s != radio_links(3, 8).up_bytes_per_s).all()


def test_uploads_last_as_the_links_say_and_fail_as_often():
    links = radio_links(30, 2, Radio(threshold=1.5))
    clients = Clients.make(np.full(30, 50), **links.columns)
    given = case.plan(updates=6000, versions=None, model_bytes=5e5)
    spec = {"name": "fedasync", "concurrency": 30, "alpha": 0.9}
    run = case.run(spec, clients, given, None)
    sent = run.clients["send_ticks"] / run.clients["arrived"]
    assert (sent / 1e9 > 0.99 * 5e5 / links.up_bytes_per_s).all()  # lost ones may have sent too
    lost = run.clients["lost"] / run.clients["dispatches"]
    assert lost.mean() == pytest.approx(links.outage.mean(), abs=0.015)


def test_a_client_out_of_reach_is_named():
    with pytest.raises(InputError, match=r"client \d+, \d+ m away, is never heard"):
        radio_links(50, 0, Radio(threshold=1e6, nakagami=2))
    with pytest.raises(InputError, match="far_m"):
        Radio(radius_m=1000, far_m=500)
