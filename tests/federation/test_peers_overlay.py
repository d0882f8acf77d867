"""Overlays and mixing matrices against what is known of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.models.federation.peers import mixing, overlay
from mltwin.sim.errors import InputError

OVERLAYS = {
    "ring": overlay.ring(9),
    "two": overlay.ring(2),
    "torus": overlay.torus(3, 4),
    "thin torus": overlay.torus(2, 3),
    "complete": overlay.complete(7),
    "star": overlay.star(6),
    "regular": overlay.regular(20, 5, seed=1),
}


@pytest.mark.parametrize("name", OVERLAYS)
def test_metropolis_is_symmetric_and_doubly_stochastic(name: str) -> None:
    made = OVERLAYS[name]
    assert made.symmetric
    (mix,) = mixing.phases(made)
    matrix = mix.matrix.toarray()
    assert mix.doubly
    assert np.allclose(matrix, matrix.T)
    assert np.allclose(matrix.sum(axis=0), 1)
    assert matrix.min() >= 0


@pytest.mark.parametrize("peers", [3, 4, 5, 8, 20, 101])
def test_the_spectrum_of_a_ring(peers: int) -> None:
    """W is circulant with 1/3, 1/3, 1/3: eigenvalues 1/3 + 2/3 cos(2 pi k / n)."""
    k = np.arange(1, peers)
    exact = np.abs(1 / 3 + 2 / 3 * np.cos(2 * np.pi * k / peers)).max()
    assert mixing.contraction(overlay.ring(peers)) == pytest.approx(exact, abs=1e-12)


def test_the_spectrum_of_other_graphs() -> None:
    assert mixing.spectral_gap(overlay.complete(11)) == pytest.approx(1)
    # star of n: W = I - L/n, the Laplacian's least positive eigenvalue is 1, its largest n
    assert mixing.spectral_gap(overlay.star(10)) == pytest.approx(1 / 10)
    # torus a x b: 1/5 (1 + 2 cos(2 pi i/a) + 2 cos(2 pi j/b))
    assert mixing.spectral_gap(overlay.torus(4, 5)) == pytest.approx(
        1 - (3 + 2 * np.cos(2 * np.pi / 5)) / 5
    )


@pytest.mark.parametrize("peers", [2, 4, 8, 32])
def test_one_peer_exponential_averages_exactly(peers: int) -> None:
    made = overlay.one_peer_exponential(peers)
    assert len(made.phases) == np.log2(peers)
    assert all((phase.out_degree == 1).all() for phase in made.phases)
    assert mixing.contraction(made, "uniform") == pytest.approx(0, abs=1e-12)
    assert mixing.contraction(overlay.one_peer_exponential(peers + 1), "uniform") > 0.01


def test_models_come_together_at_the_second_eigenvalue() -> None:
    """After many steps the distance to the mean shrinks by exactly that factor a step."""
    made = overlay.ring(12)
    (mix,) = mixing.phases(made)
    models = np.random.default_rng(0).normal(size=(12, 3))
    mean = models.mean(axis=0)
    apart = []
    for _ in range(200):
        models = mix.apply(models)
        apart.append(np.linalg.norm(models - models.mean(axis=0)))
    assert np.allclose(models.mean(axis=0), mean)
    assert apart[-1] / apart[-2] == pytest.approx(mixing.contraction(made), rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 40), st.integers(2, 39), st.integers(0, 5))
def test_random_regular_graphs(peers: int, degree: int, seed: int) -> None:
    if degree >= peers or degree * peers % 2:
        with pytest.raises(InputError, match="neighbours each"):
            overlay.regular(peers, degree, seed)
        return
    made = overlay.regular(peers, degree, seed)
    edges = made.phases[0]
    assert (edges.out_degree == degree).all()
    assert edges.symmetric
    assert (edges.source != edges.to).all()
    again = overlay.regular(peers, degree, seed)
    assert np.array_equal(again.phases[0].to, edges.to)


def test_regular_graphs_differ_by_seed_and_spread_well() -> None:
    a, b = (overlay.regular(200, 6, seed) for seed in (1, 2))
    assert not np.array_equal(a.phases[0].to, b.phases[0].to)
    # Friedman's theorem: the second eigenvalue is near 2 sqrt(d - 1); of W it is (1 + that) / 7
    assert mixing.contraction(a) == pytest.approx((1 + 2 * np.sqrt(5)) / 7, abs=0.04)


def test_latency_between_sites() -> None:
    made = overlay.ring(5).with_latency([[0.001, 0.02], [0.03, 0.002]])
    own, site, between = made.latency_ticks(np.full(5, 0.5))
    assert site.tolist() == [0, 1, 0, 1, 0]
    assert between[site[1], site[2]] == 30_000_000
    assert own[0] == 500_000_000
    apart = overlay.positions(10, seed=3, across_s=0.1, base_s=0.002)
    assert np.allclose(apart, apart.T)
    assert np.allclose(np.diag(apart), 0.002)
    assert 0.002 <= apart.min() <= apart.max() <= 0.002 + 0.1 * np.sqrt(2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: overlay.from_edges(4, [[0, 1], [2, 3]]), "no way leads from peer 0 to peer 2"),
        (lambda: overlay.from_edges(3, [[0, 1], [1, 2]], directed=True), "no way leads"),
        (lambda: overlay.from_edges(3, [[0, 1], [1, 3]]), "edge 1 goes from 1 to 3"),
        (lambda: overlay.from_edges(3, [[1, 1]]), "edge 0 goes from 1 to 1"),
        (lambda: overlay.ring(1), "1 peers"),
        (lambda: overlay.ring(3).with_latency([[0.1, 0.2]]), "one row and one column a site"),
        (lambda: overlay.ring(3).with_latency([[0, -1], [0, 0]]), "from site 0 to 1 takes -1.0 s"),
        (lambda: overlay.ring(3).with_latency([[0.0]], [0, 1, 0]), "a site from 0 to 0"),
        (lambda: mixing.mixing(overlay.ring(3).phases[0], "gold"), "unknown weights 'gold'"),
        (
            lambda: mixing.phases(overlay.one_peer_exponential(8)),
            "metropolis weights need an overlay whose edges go both ways",
        ),
        (lambda: mixing.contraction(overlay.ring(5000)), "at most 3000"),
    ],
)
def test_what_cannot_be_is_refused(make, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        make()
