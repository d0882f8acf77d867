"""FedConv's sizes and what they save."""

import pytest

from mltwin.models.federation.shrinking import MNIST_CNN, Layer, fedconv, size
from mltwin.sim.errors import InputError


def test_sizes_of_the_network_in_the_code() -> None:
    whole = size(MNIST_CNN)
    assert whole.parameters == (9 * 16 + 16) + (9 * 16 * 32 + 32) + (32 * 49 * 10 + 10)
    small = size(MNIST_CNN, 0.5625)
    assert small.parameters == (9 * 9 + 9) + (9 * 9 * 18 + 18) + (18 * 49 * 10 + 10)
    assert small.flops == 2 * (784 * 9 * 9 + 196 * 9 * 9 * 18 + 18 * 490)


def test_savings_by_hand() -> None:
    """Against whole models; the paper's 25 % and 33 % are against other systems."""
    cost = fedconv(samples=600, public_samples=1000)
    shares = [size(MNIST_CNN, 0.75**k).parameters / size(MNIST_CNN).parameters for k in range(3)]
    assert cost.bytes_saved == pytest.approx(1 - (0.2 + 0.4 * shares[1] + 0.4 * shares[2]))
    assert cost.bytes_saved == pytest.approx(0.314, abs=0.001)
    assert cost.flops_saved == pytest.approx(0.427, abs=0.001)
    assert cost.flops[0] == 3 * size(MNIST_CNN).flops * 3000


def test_the_server_pays() -> None:
    cost = fedconv(samples=600, public_samples=1000)
    one = size(MNIST_CNN).flops
    two = sum(size(MNIST_CNN, 0.75**k).flops for k in (1, 2))
    assert cost.server_flops == 3 * 1000 * (30 * one + 20 * two + 160 * one)
    even = fedconv(samples=600, public_samples=1000, levels=(0, 0))
    assert even.bytes_saved == even.flops_saved == 0.0
    assert even.server_flops == 3 * 1000 * 30 * one


def test_a_layer_keeps_a_channel() -> None:
    with pytest.raises(InputError, match="leave each layer a channel"):
        size((Layer(1, 2), Layer(2, 2)), 0.3)
    with pytest.raises(InputError, match="there is no client"):
        fedconv(samples=1, public_samples=1, levels=())
