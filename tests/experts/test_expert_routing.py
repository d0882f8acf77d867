"""The synthetic router and the predictors have the properties that they are asked for."""

import numpy as np
import pytest

from mltwin.models.experts.prediction import given, issued, previous, quality
from mltwin.models.experts.routing import regroup, routes, visits_of, zipf_cdf

PLAIN = {"layers": 3, "experts": 16, "skew": 1.0, "token_correlation": 0.0,
         "layer_correlation": 0.0}  # fmt: skip


def test_popularity_is_zipf() -> None:
    found = routes(1, steps=4000, batch=4, chosen=1, **PLAIN)
    law = np.diff(zipf_cdf(16, 1.0), prepend=0)
    for layer in range(3):
        share = np.bincount(found[:, :, layer, 0].ravel(), minlength=16) / 16_000
        assert np.sort(share)[::-1] == pytest.approx(law, abs=0.015)


def test_layers_have_favourites_of_their_own() -> None:
    found = routes(1, steps=2000, batch=4, chosen=1, **PLAIN)
    favourites = {int(np.bincount(found[:, :, layer, 0].ravel()).argmax()) for layer in range(3)}
    assert len(favourites) > 1


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_tokens_keep_experts_and_the_law(share: float) -> None:
    knobs = {**PLAIN, "token_correlation": share}
    found = routes(2, steps=20_000, batch=1, chosen=1, output_tokens=10**6, **knobs)[:, 0, 1, 0]
    law = np.diff(zipf_cdf(16, 1.0), prepend=0)
    again = np.mean(found[1:] == found[:-1])
    assert again == pytest.approx(share + (1 - share) * (law**2).sum(), abs=0.02)
    spread = np.sort(np.bincount(found, minlength=16) / len(found))[::-1]
    assert spread == pytest.approx(law, abs=0.04)


def test_paths_through_layers() -> None:
    """With full correlation the first layer decides all others."""
    knobs = {**PLAIN, "layer_correlation": 1.0}
    found = routes(3, steps=500, batch=1, chosen=1, **knobs)[:, 0, :, 0]
    paths = {tuple(row) for row in found.tolist()}
    assert len(paths) == len({path[0] for path in paths})


def test_experts_of_a_token_differ() -> None:
    for chosen in (2, 8, 16):
        found = routes(4, steps=50, batch=3, chosen=chosen, **{**PLAIN, "token_correlation": 0.5})
        assert (np.diff(np.sort(found, axis=-1), axis=-1) > 0).all()
        assert found.min() >= 0 and found.max() < 16


def test_draws_depend_on_their_key_only() -> None:
    """Fewer steps are a prefix of more."""
    long = routes(5, steps=40, batch=3, chosen=2, **PLAIN)
    assert np.array_equal(long[:15], routes(5, steps=15, batch=3, chosen=2, **PLAIN))
    assert not np.array_equal(long, routes(6, steps=40, batch=3, chosen=2, **PLAIN))


def test_visits_hold_each_token_once() -> None:
    found = routes(6, steps=20, batch=7, chosen=2, **PLAIN)
    order = np.tile(np.arange(7), (20, 1))
    start, keys, tokens, sizes = visits_of(found, order, 16, 3)
    assert tokens.sum() == found.size
    assert sizes.reshape(20, 3, 3)[0, :, 0].tolist() == [3, 3, 1]
    first = {int(e) + 16 for e in found[0, :3, 1].ravel()}
    assert keys[start[1] : start[2]].tolist() == sorted(first)


def test_regrouping_brings_like_to_like() -> None:
    """Tokens of two kinds that share no expert: the groups are the kinds, and experts halve."""
    found = np.zeros((10, 8, 3, 2), np.int32)
    kind = np.random.default_rng(0).permuted(np.tile([0, 1] * 4, (10, 1)), axis=1)
    found[...] = np.arange(2)
    found += 2 * kind[:, :, None, None].astype(np.int32)
    order = regroup(1, found, 16, 2, 1.0)
    assert (np.sort(order, axis=1) == np.arange(8)).all()
    grouped = np.take_along_axis(kind, order, axis=1)
    assert (grouped[:, :4] == grouped[:, :1]).all() and (grouped[:, 4:] == grouped[:, 4:5]).all()
    plain = np.tile(np.arange(8), (10, 1))
    sizes = [len(visits_of(found, rows, 16, 2)[1]) for rows in (plain, order)]
    assert sizes[1] == 10 * 2 * 3 * 2 < sizes[0]


def test_a_regrouping_that_sees_nothing_changes_nothing() -> None:
    found = routes(7, steps=20, batch=8, chosen=2, **PLAIN)
    assert (regroup(1, found, 16, 2, 0.0) == np.arange(8)).all()


@pytest.mark.parametrize(("recall", "precision"), [(0.9, 0.8), (0.5, 0.5), (1.0, 1.0), (0.3, 0.9)])
def test_predictors_are_as_good_as_asked(recall: float, precision: float) -> None:
    found = routes(8, steps=2000, batch=2, chosen=2, **PLAIN)
    start, keys, _, _ = visits_of(found, np.tile(np.arange(2), (2000, 1)), 16, 1)
    told_start, told = given(1, start, keys, 16, recall, precision)
    reached = quality(start, keys, told_start, told)
    assert reached == (pytest.approx(recall, abs=0.02), pytest.approx(precision, abs=0.02))


def test_the_step_before_as_a_predictor() -> None:
    start, keys = np.array([0, 2, 3, 5, 6]), np.array([0, 1, 4, 1, 2, 4])
    told_start, told = previous(start, keys, 2)
    assert told_start.tolist() == [0, 0, 0, 2, 3] and told.tolist() == [0, 1, 4]
    assert quality(start, keys, told_start, told) == (2 / 6, 2 / 3)
    assert previous(start, keys, 9)[1].tolist() == []


def test_when_predictions_are_known() -> None:
    assert issued(6, 3, 1, "pass").tolist() == [0, 0, 0, 3, 3, 3]
    assert issued(6, 3, 2, "step").tolist() == [0] * 6
    assert issued(6, 3, 1, 1).tolist() == [0, 0, 1, 3, 3, 4]
