"""Synthetic requests for routing: contexts around topics, adapters that fit some of them.

Every draw is keyed by (seed, stream, entity, counter), so that all controllers see the same
requests, and a longer run begins as the shorter one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.rng_arrays import CLIENTS, FITS, POLICY, SERVICE, TENANTS, bits, normals, uniforms

Floats = NDArray[np.float64]
_TOPIC_ENTITY = 1 << 20  # of the topics' centres; adapters come before


@dataclass(frozen=True)
class Topics:
    """How contexts and adapters are drawn.

    Attributes:
        dimension: d, numbers of a context; contexts and true parameters have length 1.
        topics: of the requests.
        zipf: exponent of the topics' popularity.
        spread: of the contexts around their topic's centre (0: all equal to it).
        persistence: probability that a request stays with the topic of the one before it.
        fit: how much of adapter a's parameter is the centre of topic a mod topics (0 to 1).
    """

    dimension: int = 8
    topics: int = 15
    zipf: float = 1.0
    spread: float = 0.5
    persistence: float = 0.0
    fit: float = 0.7


def zipf_weights(count: int, exponent: float) -> Floats:
    """Probabilities proportional to (rank + 1) ** -exponent."""
    weights = (np.arange(count) + 1.0) ** -exponent
    return weights / weights.sum()


def zipf_draws(
    seed: int, count: int, kinds: int, exponent: float, persistence: float = 0.0
) -> NDArray[np.int64]:
    """int64[count]: kinds drawn by Zipf's law; each repeats the one before with `persistence`.

    >>> zipf_draws(0, 4, 1, 1.0).tolist()
    [0, 0, 0, 0]
    """
    entities = np.arange(count)
    below = np.cumsum(zipf_weights(kinds, exponent))
    fresh = np.searchsorted(below, uniforms(seed, TENANTS, entities), side="right")
    anew = uniforms(seed, TENANTS, entities, 1) >= persistence
    anew[:1] = True
    return np.minimum(fresh, kinds - 1)[np.maximum.accumulate(np.where(anew, entities, 0))]


def _unit(rows: Floats) -> Floats:
    return rows / np.sqrt((rows * rows).sum(axis=-1, keepdims=True))


def _gaussian(seed: int, stream: int, entities: NDArray[np.int64], d: int) -> Floats:
    drawn: Floats = normals(seed, stream, entities[:, None], np.arange(d)[None, :])
    return drawn


def draw_contexts(law: Topics, requests: int, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """(float64[requests, d] contexts of length 1, int64[requests] topics)."""
    topic = zipf_draws(seed, requests, law.topics, law.zipf, law.persistence)
    noise = _gaussian(seed, CLIENTS, np.arange(requests), law.dimension)
    return _unit(_centres(law, seed)[topic] + law.spread * noise / law.dimension**0.5), topic


def draw_adapters(law: Topics, adapters: int, seed: int) -> Floats:
    """float64[adapters, d]: true parameters of length 1."""
    own = _unit(_gaussian(seed, FITS, np.arange(adapters), law.dimension))
    centres = _centres(law, seed)[np.arange(adapters) % law.topics]
    return _unit(law.fit * centres + (1.0 - law.fit) * own)


def _centres(law: Topics, seed: int) -> Floats:
    return _unit(_gaussian(seed, FITS, _TOPIC_ENTITY + np.arange(law.topics), law.dimension))


def expected_rewards(contexts: Floats, parameters: Floats) -> Floats:
    """float64[T, N]: theta . x, summed in a fixed order, so that no BLAS decides the last bit."""
    total = np.zeros((len(contexts), len(parameters)))
    for i in range(contexts.shape[1]):
        total += contexts[:, i : i + 1] * parameters[:, i]
    return total


def reward_noise(requests: int, adapters: int, sigma: float, seed: int) -> Floats:
    """float64[T, N]: normal noise, keyed by request and adapter."""
    drawn: Floats = normals(
        seed, SERVICE, np.arange(requests)[:, None], np.arange(adapters)[None, :]
    )
    return sigma * drawn


def first_residents(adapters: int, capacity: int, seed: int) -> NDArray[np.int64]:
    """int64[capacity]: adapters that are resident at first, any set being as likely."""
    order = np.argsort(bits(seed, POLICY, np.arange(adapters)), kind="stable")
    return np.sort(order[:capacity])
