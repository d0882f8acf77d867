"""ServeGen pools made by hand: each stated rule, the counts, the draws."""

import gzip
import json

import numpy as np
import pytest

from mltwin.sim.errors import InputError
from mltwin.workloads import read_trace
from mltwin.workloads.read_servegen import read_servegen

LENGTHS = {"input_tokens": "{10: 0.25, 20: 0.75}", "output_tokens": "{5: 1.0}"}
NOTHING = {"input_tokens": "{}", "output_tokens": "{}"}


@pytest.fixture
def pool(tmp_path):
    def make(clients):
        for number, (windows, lengths) in clients.items():
            lines = [",".join(map(str, window)) for window in windows]
            (tmp_path / f"chunk-{number}-trace.csv").write_text("\n".join(lines) + "\n")
            if lengths is not None:
                text = json.dumps(lengths).encode()
                path = tmp_path / f"chunk-{number}-dataset.json.gz"
                path.write_bytes(gzip.compress(text))
        return tmp_path

    return make


STEADY = [(0, 0.5, 1.0, "Gamma", 1.0, 2.0), (600, 0, 0, "", 0, 0), (1200, 0.25, 1.0, "", 0, 0)]


def test_counts_follow_the_rates(pool):
    trace = read_trace(pool({3: (STEADY, {"0": LENGTHS}), 7: (STEADY[:2], {"0": LENGTHS})}))
    assert trace.tenants == ("client-3", "client-7")
    at = trace.arrival[trace.tenant == 0] // (600 * 10**12)
    assert np.bincount(at).tolist() == [300, 0, 150]
    assert (trace.tenant == 1).sum() == 300
    assert set(trace.prompt.tolist()) == {10, 20} and set(trace.output.tolist()) == {5}
    assert (trace.prompt == 20).mean() == pytest.approx(0.75, abs=0.06)


def test_seed_window_and_scale(pool):
    folder = pool({0: (STEADY, {"0": LENGTHS})})
    assert read_trace(folder, seed=1).equals(read_trace(folder, seed=1))
    assert not read_trace(folder, seed=1).equals(read_trace(folder, seed=2))
    late = read_trace(folder, from_s=1200.0, until_s=1800.0)
    assert len(late) == 150 and late.arrival[-1] < 600 * 10**12
    assert len(read_trace(folder, rate_scale=0.1)) == 45


def test_fractions_of_a_request_are_drawn_not_lost(pool):
    windows = [(600 * i, 0.001, 1.0, "Gamma", 1.0, 1.0) for i in range(500)]
    trace = read_trace(pool({0: (windows, {"0": LENGTHS})}))
    assert len(trace) == pytest.approx(300, abs=60)


def test_bursty_windows_are_bursty(pool):
    folder = pool({0: ([(0, 20.0, 4.0, "Gamma", 1 / 16, 1.0)], {"0": LENGTHS})})
    gaps = np.diff(read_trace(folder).arrival)
    assert gaps.std() / gaps.mean() == pytest.approx(4.0, rel=0.1)
    folder = pool({0: ([(0, 20.0, 2.0, "Weibull", 0.5427, 1.0)], {"0": LENGTHS})})
    gaps = np.diff(read_trace(folder).arrival)
    assert gaps.std() / gaps.mean() == pytest.approx(2.0, rel=0.1)


def test_wild_cvs_are_cut_and_counted(pool):
    folder = pool({0: ([(0, 50.0, 797.0, "Weibull", 0.05, 1.0)], {"0": LENGTHS})})
    trace = read_servegen(folder, max_cv=2.0)
    assert trace.meta["windows_with_cut_cv"] == 1
    gaps = np.diff(trace.arrival)
    assert gaps.std() / gaps.mean() == pytest.approx(2.0, rel=0.1)


def test_unknown_lengths_come_from_the_nearest_window(pool):
    lengths = {"0": NOTHING, "21600": LENGTHS}
    trace = read_trace(pool({0: (STEADY[:1], lengths)}))
    assert trace.meta["windows_with_borrowed_lengths"] == 1 and len(trace) == 300


def test_clients_without_lengths_are_left_out_and_counted(pool):
    folder = pool({0: (STEADY, {"0": LENGTHS}), 1: (STEADY, None), 2: (STEADY, {"0": NOTHING})})
    trace = read_trace(folder)
    assert trace.meta["clients"] == 3 and trace.meta["clients_without_lengths"] == 2
    assert trace.meta["requests_without_lengths"] == 900 and len(trace) == 450


def test_zero_lengths_become_one_and_are_counted(pool):
    lengths = {"text_tokens": "{0: 1.0}", "image_tokens": "{0: 1.0}", "output_tokens": "{0: 1.0}"}
    trace = read_trace(pool({0: (STEADY[:1], {"0": lengths})}))
    assert trace.prompt.max() == trace.output.max() == 1 and trace.meta["zero_lengths"] == 600


def test_parts_of_a_multimodal_prompt_are_added(pool):
    lengths = {"text_tokens": "{7: 1.0}", "image_tokens": "{100: 1.0}", "output_tokens": "{3: 1}"}
    assert set(read_trace(pool({0: (STEADY, {"0": lengths})})).prompt.tolist()) == {107}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"until_s": -1.0}, "from_s < until_s"),
        ({"rate_scale": 0.0}, "rate_scale > 0"),
        ({"max_requests": 10}, "450 requests are more than 10"),
        ({"from_s": 5000.0}, "no requests in this window"),
        ({"sped": 1}, "no option 'sped'"),
    ],
)
def test_wrong_options(pool, options, words):
    with pytest.raises(InputError, match=words):
        read_trace(pool({0: (STEADY, {"0": LENGTHS})}), format="servegen", **options)


@pytest.mark.parametrize("text", ["[]", '{"0": 5}', '{"x": {"input_tokens": "{1: 1}"}}', "{", "3"])
def test_damaged_datasets(pool, text):
    folder = pool({0: (STEADY, None)})
    (folder / "chunk-0-dataset.json").write_text(text)
    with pytest.raises(InputError, match=r"no ServeGen dataset|no requests"):
        read_trace(folder)


def test_a_folder_of_other_files(tmp_path):
    with pytest.raises(InputError, match="holds no chunk-N-trace"):
        read_servegen(tmp_path)
