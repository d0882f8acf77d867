"""What each profile's GPU is taken to do with prompts and decodes in one call."""

import pytest

from mltwin.calibration import ragged
from mltwin.calibration.sources import SOURCES
from mltwin.models.gpu.operators import MixedCost
from mltwin.sim.errors import InputError

BY_NAME = {source.name: source for source in SOURCES}


def test_kernels_that_run_the_halves_apart_need_no_data(tmp_path) -> None:
    found = ragged.mixed_of(tmp_path, BY_NAME["b200"])
    assert found is not None and found.error is None
    assert found.cost.seconds(2e-5, 3e-5) == pytest.approx(5e-5)
    assert ragged.mixed_of(tmp_path, BY_NAME["h100-sxm-80gb"]) is None


def test_what_was_not_measured(tmp_path) -> None:
    with pytest.raises(InputError, match="measured are"):
        ragged.measured(tmp_path, "H100")
    with pytest.raises(InputError, match="no tables of RTX4090"):
        ragged.measured(tmp_path, "RTX4090")
    with pytest.raises(InputError, match="give --data"):
        ragged.main(["--data", ""])


@pytest.mark.data
def test_profiles_of_measured_gpus(data_dir) -> None:
    own = ragged.mixed_of(data_dir, BY_NAME["rtx-pro-6000"])
    assert own is not None and own.error is not None and own.rows is not None
    assert own.error.median < 0.07 and own.error.held_rows > 10_000
    assert set(own.sizes) <= set(own.rows)
    other = ragged.mixed_of(data_dir, BY_NAME["l40s"])
    assert other is not None and other.error is not None and other.error.median < 0.06
    assert other.cost.sms == 142 and other.cost.crowd == own.cost.crowd
    assert other.cost != own.cost != MixedCost()


@pytest.mark.data
def test_a_gpu_is_told_by_another_and_its_own_prompts(data_dir) -> None:
    """The transfer that the A100 and the L40S get, where it can be checked."""
    target, origin = (ragged.measured(data_dir, gpu) for gpu in ("RTXPRO6000", "RTX4090"))
    source = BY_NAME["rtx-pro-6000"]
    cost = ragged.fit.transfer_mixed(
        origin.fit()[0],
        ragged.chain(data_dir, source)[0],
        bandwidth=target.bandwidth,
        of_bandwidth=origin.bandwidth,
        l2_bytes=target.l2_bytes,
    )
    rows = target.rows
    missed = ragged.fit.mixed_seconds(cost, rows) / rows["seconds"] - 1
    plain = (rows["prefill_s"] + rows["decode_s"]) / rows["seconds"] - 1
    assert missed.abs().median() < 0.08 < 0.25 < plain.abs().median()


@pytest.mark.slow
@pytest.mark.data
def test_the_printed_errors(data_dir, capsys) -> None:
    assert ragged.main(["--data", str(data_dir)]) == 0
    out = capsys.readouterr().out
    assert "sum of the halves" in out and "unseen meta-llama/Llama-3.1-8B" in out
