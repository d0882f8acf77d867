"""Scalars along shared random vectors: unbiased, with the error that the law promises."""

import numpy as np
import pytest
from codec_case import Desk, Task, arrivals, many, off, updates

from mltwin.policies.federated.randomness import (
    LAWS,
    Ferret,
    OneByte,
    SeedSign,
    round_direction,
    shared_by_norm,
    walsh,
)
from mltwin.policies.federated.sparsify import Majority
from mltwin.sim import rng
from mltwin.sim.errors import InputError

VECTOR = rng.normals(9, rng.POLICY, 0, np.arange(24)).astype(np.float32)
NORM2 = float((VECTOR.astype(float) ** 2).sum())


@pytest.mark.parametrize("law", sorted(LAWS))
def test_ferret_is_unbiased_with_the_error_of_its_law(law: str) -> None:
    made = many(Ferret(bases=6, law=law), VECTOR, 3000)
    assert off(made, VECTOR) < 4.5
    error = ((made - VECTOR) ** 2).sum(axis=1).mean()
    assert error == pytest.approx((24 - 2 + LAWS[law]) / 6 * NORM2, rel=0.06)


def test_shrinking_makes_the_error_least() -> None:
    made = many(Ferret(bases=6, law="rademacher", shrink=True), VECTOR, 2000)
    error = ((made - VECTOR) ** 2).sum(axis=1).mean()
    assert error == pytest.approx(23 / (6 + 23) * NORM2, rel=0.06)


def test_all_orthogonal_bases_give_the_update_back() -> None:
    whole = rng.normals(9, rng.POLICY, 1, np.arange(64)).astype(np.float32)
    assert many(Ferret(bases=64, law="hadamard"), whole, 3) == pytest.approx(
        np.tile(whole, (3, 1)), abs=2e-6
    )
    made = many(Ferret(bases=16, law="hadamard"), whole, 3000)
    assert off(made, whole) < 4.5
    norm2 = float((whole.astype(float) ** 2).sum())
    assert ((made - whole) ** 2).sum(axis=1).mean() == pytest.approx(3 * norm2, rel=0.05)


def test_hadamard_pads_what_is_no_power_of_two() -> None:
    made = many(Ferret(bases=32, law="hadamard"), VECTOR, 2)
    assert made == pytest.approx(np.tile(VECTOR, (2, 1)), abs=2e-6)
    assert many(Ferret(bases=500, law="hadamard"), VECTOR, 1)[0] == pytest.approx(VECTOR, abs=2e-6)


def test_walsh_is_its_own_inverse() -> None:
    values = np.arange(16.0)
    assert (walsh(walsh(values)) == 16 * values).all()
    matrix = np.array([walsh(row) for row in np.eye(4)])
    assert matrix.tolist() == [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]


def test_blocks_share_the_scalars_by_norm() -> None:
    parts = [np.array([3.0, 4.0]), np.zeros(2), np.array([0.0, 5.0])]
    assert shared_by_norm(parts, 13) == [6, 1, 6]
    assert shared_by_norm([np.zeros(2)] * 3, 7) == [3, 2, 2]
    assert sum(shared_by_norm([VECTOR[:5], VECTOR[5:9], VECTOR[9:]], 64)) == 64
    lively = np.concatenate([VECTOR[:8] * 10, VECTOR[8:] / 10]).astype(np.float32)
    made = many(Ferret(bases=12, blocks=3), lively, 3000)
    assert off(made, lively) < 4.5
    plain = many(Ferret(bases=12), lively, 500)
    assert ((made - lively) ** 2).sum(axis=1).mean() < ((plain - lively) ** 2).sum(axis=1).mean()


def test_bytes_are_of_scalars() -> None:
    desk, clients = Desk(Task(10_000_000)), np.arange(2)
    assert Ferret(bases=256).up_bytes(desk, clients).tolist() == [1032.0, 1032.0]
    assert Ferret(bases=256, blocks=4).up_bytes(desk, clients).tolist() == [1040.0, 1040.0]
    assert OneByte().up_bytes(desk, clients).tolist() == [1.0, 1.0]
    assert SeedSign(down_bit=True).down_bytes(desk, clients, 4e7).tolist() == [1.0, 1.0]


def test_one_byte_is_unbiased() -> None:
    small = VECTOR / 8
    made = many(OneByte(most=4.0), small, 20_000)
    assert off(made, small) < 4.5
    error = ((made - small) ** 2).sum(axis=1).mean()
    assert error == pytest.approx(23 * NORM2 / 64, rel=0.08)


def test_the_byte_has_127_levels_of_each_sign() -> None:
    codec = OneByte()
    scalars = np.linspace(-2, 2, 5001)
    coins = rng.uniforms(1, rng.POLICY, 0, np.arange(5001))
    made = codec.rounded(scalars, coins)
    grid = np.concatenate([[0.0], 2.0 ** (-np.arange(127) / 4)])
    assert all(np.isclose(np.abs(made)[:, None], grid, rtol=1e-12, atol=0).any(axis=1))
    assert len(grid) * 2 <= 256
    assert made[0] == -1.0 and made[-1] == 1.0 and codec.rounded(np.zeros(1), np.zeros(1)) == 0
    tiny = np.full(100_000, 1e-11)
    rounded = codec.rounded(tiny, rng.uniforms(2, rng.POLICY, 0, np.arange(100_000)))
    assert rounded.mean() == pytest.approx(1e-11, rel=0.1)


def test_seed_sign_votes_along_one_direction() -> None:
    desk = Desk(Task(24))
    along = round_direction(desk, 5, 24)
    both = np.array([along, -along, along], np.float32)
    made = SeedSign(size=0.5).apply(desk, arrivals([0, 1, 2], held=5), updates(both)).delta
    assert made == pytest.approx(0.5 * both)
    third = np.full(3, 1 / 3)
    assert Majority().combine(desk, third, made) == pytest.approx(0.5 * along)
    assert (round_direction(desk, 6, 24) != along).all()


def test_impossible_bases_are_refused() -> None:
    with pytest.raises(InputError, match="blocks is 5"):
        Ferret(bases=4, blocks=5)
    with pytest.raises(InputError, match="law is 'gauss'"):
        Ferret(law="gauss")
