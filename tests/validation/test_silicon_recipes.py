"""Published disaggregated deployments: the table, how runs are matched with it, drafted tokens."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from mltwin.calibration.silicon.answers import Answers
from mltwin.calibration.silicon.interpolate import curve
from mltwin.calibration.silicon.moe import TableMoe
from mltwin.calibration.silicon.recipes_disagg import (
    Deployed,
    Workers,
    deployments,
    engine_version,
    every_block,
)
from mltwin.calibration.silicon.resolver import ENGINES
from mltwin.calibration.silicon.wide_exchange import AlltoallExchange
from mltwin.calibration.silicon.wide_experts import WideExperts
from mltwin.models.gpu.iteration import IterationModel
from mltwin.models.llm.config import load_model
from mltwin.validation import silicon_mtp
from mltwin.validation.silicon_deployed import ASSUMED, LIKELY, OPEN, SURE, serve
from mltwin.validation.silicon_replay import _seen, sides
from mltwin.validation.silicon_rows import Run, Side

B200 = ("trtllm", "deepseek-r1", "b200_sxm", "fp4", 1024, 1024)


def run(concurrency: int, prefill: int, decode: int, place: int = 1, **changes: object) -> Run:
    """A disaggregated run whose row tells the GPUs of a worker only."""
    given = {
        "row_id": f"x_{place}", "engine": "trtllm", "version": "0.8.1.post1",
        "model": "deepseek-ai/DeepSeek-R1", "system": "b200_sxm", "precision": "fp4",
        "prompt": 1024, "output": 1024, "concurrency": concurrency, "known": True,
        "sides": tuple(Side(1, n, 1, 1, 1, 1, told=False, group=n) for n in (prefill, decode)),
        "ttft_s": 1.0, "tpot_s": 0.01, "config": "0" * 64, "export": "source_file=a.csv",
        "place": place, "measured": "2026-02-01",
    } | changes  # fmt: skip
    return Run(**given)  # type: ignore[arg-type]


def served(*runs: Run) -> list[Deployed]:
    return [found.deployed for found in serve(runs) if found is not None]


@pytest.mark.parametrize("block", every_block(), ids=lambda b: "-".join(map(str, b[:7])))
def test_every_block_of_the_table_is_sane(block: tuple) -> None:
    engine, model, *_ = block
    assert engine in ENGINES
    shipped = load_model(model)
    lines = [line for line in block[8].split("\n") if line]
    assert len(lines) == len(set(lines))
    found = deployments(*block[:6], measured=block[6])
    assert len(found) == len(lines)
    assert block[7] >= 1024
    for deployed in found:
        concurrencies = deployed.concurrencies
        assert concurrencies and concurrencies[0] > 0
        assert all(a < b for a, b in pairwise(concurrencies))
        assert deployed.drafts in silicon_mtp.TOKENS and deployed.batch >= 0
        assert deployed.prefill_tokens >= 512
        for workers in (deployed.prefill, deployed.decode):
            assert workers.count > 0 and 1 in (workers.tp, workers.dp)
            assert workers.group % workers.ep == 0
            assert shipped.heads % workers.tp == 0
            assert shipped.moe is not None and shipped.moe.experts % workers.ep == 0


def test_deployments_of_a_concurrency_and_a_day() -> None:
    assert [d.drafts for d in deployments(*B200, 10)] == [3, 0]
    assert deployments(*B200, 11) == []
    assert deployments("vllm", *B200[1:]) == []
    gb200 = ("trtllm", "deepseek-r1", "gb200", "fp4", 1024, 1024)
    early, late = (deployments(*gb200, measured=day) for day in ("2025-12-05", "2026-03-23"))
    assert early[0].prefill.ep == 4 and early != late
    assert deployments(*gb200, measured="2020-01-01") == early
    assert deployments(*gb200) == late
    assert deployments("trtllm", "deepseek-v3", *gb200[2:]) == late
    hopper = ("sglang", "deepseek-r1", "h200_sxm", "fp8_block", 1024, 1024)
    assert deployments(*hopper, 4)[0].decode == Workers(9, 8, 1, 1)


def test_ranks_that_do_not_divide_the_experts() -> None:
    found = deployments("sglang", "deepseek-r1", "gb200", "fp8", 1024, 1024, 1024, "2026-02-09")
    assert found[0].decode == Workers(1, 1, 48, 16)
    assert found[0].gpus == 3 * 8 + 48


def test_engine_version_of_a_dynamo_release() -> None:
    assert engine_version("trtllm", "0.8.1.post2") == "1.2.0rc6.post2"
    assert engine_version("trtllm", "0.5.1-rc0.pre3") == "1.1.0rc5"
    assert engine_version("trtllm", "1.2.0rc6.post2") == "1.2.0rc6.post2"
    assert engine_version("sglang", "0.5.8") == "0.5.8"


def test_labels_and_concurrency_name_one_deployment() -> None:
    (found,) = serve([run(4968, 4, 8)])
    assert found is not None and found.confidence == SURE and not found.note
    assert found.deployed.decode == Workers(4, 1, 8, 8) and found.deployed.drafts == 1
    replayed = sides(replace(run(4968, 4, 8), served=found))
    assert [(s.workers, s.tp, s.dp, s.ep) for s in replayed] == [(3, 1, 4, 4), (4, 1, 8, 8)]


def test_aggregated_runs_are_left_alone() -> None:
    one = run(8, 4, 8)
    aggregated = replace(one, sides=one.sides[:1])
    assert serve([aggregated]) == [None]
    assert sides(aggregated) == aggregated.sides


def test_one_number_for_all_gpus() -> None:
    (deployed,) = served(run(2048, 24, 24, system="gb200", measured="2025-12-05"))
    assert deployed.gpus == 24 and deployed.decode == Workers(1, 1, 16, 16)


def test_silent_labels_go_by_concurrency() -> None:
    (deployed,) = served(
        run(12000, 1, 1, system="gb200", engine="sglang", measured="2025-12-21", version="0.5.5")
    )
    assert deployed.decode == Workers(1, 1, 32, 32)


def test_told_workers_choose_the_plan_or_are_taken_as_they_are() -> None:
    def told(count: int, prefill: int, decode: int) -> tuple[Side, ...]:
        return (
            Side(1, prefill, 1, 1, 4, 1, group=prefill),
            Side(count, decode, 1, 1, 8, 1, group=decode),
        )

    one = run(25, 4, 8, sides=told(5, 4, 8), export="db-dump/2026-04-27")
    (found,) = serve([one])
    assert found is not None and found.deployed.drafts == 0  # that export holds plain decoding
    assert found.deployed.prefill == Workers(1, 1, 4, 4)
    (found,) = serve([run(25, 4, 8, sides=told(7, 4, 8))])
    assert found is not None and found.confidence == SURE
    assert found.deployed.decode == Workers(7, 8, 1, 8)


def test_a_sweep_of_one_kind_is_all_of_that_kind() -> None:
    """8 is driven with drafts only: so 4 and 128 of the same day were too, though not alone."""
    given = {"engine": "sglang", "precision": "fp8", "version": "0.5.8"}
    drafted = served(*(run(c, 8, 8, place, **given) for place, c in enumerate((4, 8, 128), 1)))
    assert [d.drafts for d in drafted] == [2, 2, 2]
    plain = served(*(run(c, 8, 8, place, **given) for place, c in enumerate((4, 16, 256), 1)))
    assert [d.drafts for d in plain] == [0, 0, 0]


def test_runs_of_equal_labels_were_different_and_neighbours_tell_which() -> None:
    """100 and 50 are plain decoding's, 30 and 60 the other's: 10 stands beside each."""
    driven = ((1, 100), (2, 10), (3, 50), (11, 30), (12, 10), (13, 60))
    found = served(*(run(c, 4, 8, place, prompt=8192) for place, c in driven))
    assert [d.drafts for d in found] == [0, 0, 0, 3, 3, 3]


def test_equal_runs_without_neighbours_go_newest_first() -> None:
    runs = [run(10, 4, 8, 40), run(10, 4, 8, 20), run(1214, 4, 8, 60), run(1365, 4, 8, 80)]
    found = serve(runs)
    assert [f.deployed.drafts for f in found if f] == [3, 0, 2, 0]
    assert [f.confidence for f in found if f] == [LIKELY, LIKELY, SURE, SURE]


def test_the_nearest_concurrency_stands_in() -> None:
    (found,) = serve([run(4500, 4, 8)])
    assert found is not None and found.confidence == OPEN and "4500" in found.note
    assert 4096 in found.deployed.concurrencies or 4968 in found.deployed.concurrencies


def test_what_was_never_published_follows_the_stated_rule() -> None:
    (few,) = serve([run(8, 4, 8, prompt=2000)])
    assert few is not None and few.confidence == ASSUMED and few.note
    assert few.deployed.decode == Workers(1, 8, 1, 1)
    (many,) = serve([run(4000, 4, 8, prompt=2000)])
    assert many is not None and many.deployed.decode == Workers(1, 1, 8, 8)
    (odd,) = serve([run(8, 20, 20, prompt=2000)])
    assert odd is not None and odd.deployed.decode == Workers(1, 1, 20, 4)


def test_matching_never_looks_at_results() -> None:
    driven = ((1, 100), (2, 10), (3, 50), (11, 30), (12, 10), (13, 60))
    runs = [run(c, 4, 8, place, prompt=8192) for place, c in driven]
    other = [replace(r, ttft_s=99.0 / r.place, tpot_s=0.5 * r.place) for r in runs]
    assert serve(runs) == serve(other)


def test_drafted_tokens() -> None:
    made = [silicon_mtp.emitted(k) for k in range(4)]
    assert made[0] == 1 and all(a < b for a, b in pairwise(made))
    gains = np.diff(made)
    assert all(a > b for a, b in pairwise(gains)) and silicon_mtp.emitted(9) == made[3]
    tokens = np.array([1, 2, 1000])
    assert silicon_mtp.iterations(tokens, 0).tolist() == [1, 2, 1000]
    assert silicon_mtp.iterations(tokens, 2).tolist() == [1, 2, 1 + math.ceil(999 / made[2])]


@pytest.fixture(scope="module")
def times() -> IterationModel:
    return IterationModel("llama-3.1-8b", "h100-sxm-80gb")


@pytest.mark.parametrize("drafts", [1, 3])
def test_speculative_cells_are_those_of_more_tokens(times: IterationModel, drafts: int) -> None:
    """Against the composed operators: n sequences of k + 1 tokens cost what n (k + 1) do that
    share the context, but the host counts n."""
    each, most = drafts + 1, 64
    table = times.lower(most * each, 8192, max_decode=most * each)
    cells = silicon_mtp.speculative(table, drafts, 1.0, 1.0, 0.0)
    for n in (1, 5, 17, 64):
        for context in (64, 700, 4000):
            tokens = n * each
            share = max(1, n * context // tokens)
            composed = times.seconds([], [share] * tokens)
            composed -= times.sequence_s * (tokens - n)
            found = cells.evaluate(n, share * tokens, n, 0) * 1e-12
            assert found == pytest.approx(composed, rel=0.02)


def test_speculative_cells_read_the_context_so_often_and_so_much(times: IterationModel) -> None:
    table = times.lower(256, 8192, max_decode=256)
    once = silicon_mtp.speculative(table, 1, 1.0, 1.0, 0.0)
    more = silicon_mtp.speculative(table, 1, 1.7, 1.2, 0.1)
    host = table.per_sequence * 16
    for context in (16 * 1500, 16 * 4100):
        bare = once.evaluate(16, 0, 16, 0) - host
        plain = once.evaluate(16, round(1.2 * context), 16, 0) - host
        expected = 1.1 * (bare + 1.7 * (plain - bare)) + host
        assert more.evaluate(16, context, 16, 0) == pytest.approx(expected, rel=1e-3)
    assert silicon_mtp.speculative(table, 0, 9.0, 9.0, 9.0) is table


def test_attention_of_several_queries(times: IterationModel) -> None:
    assert silicon_mtp.context_factor(times, 3) == 1.0
    latent = IterationModel("deepseek-r1", "b200", dp=8, ep=8)
    split = IterationModel("deepseek-r1", "b200", tp=8)
    factors = [silicon_mtp.context_factor(model, 3) for model in (latent, split)]
    assert 1.0 <= factors[1] < factors[0] <= 4.0
    assert silicon_mtp.context_factor(latent, 0) == 1.0


def test_the_first_token_comes_with_the_decode_workers_first_iteration() -> None:
    seen = _seen(np.array([2.0, 2.0]), np.array([12.0, 2.0]), np.array([11, 1]))
    assert seen.tolist() == [3.0, 2.0]


def test_wide_experts_are_whole_and_over_all_ranks_of_the_worker() -> None:
    shape = {"hidden_size": 512, "inter_size": 256, "topk": 4, "num_experts": 64, "moe_tp_size": 1}
    rows = pd.DataFrame(
        {**shape, "moe_ep_size": ranks, "num_tokens": tokens, "seconds": tokens * 1e-6 / ranks}
        for ranks in (8, 32)
        for tokens in (64, 256, 1024)
    )
    table = TableMoe(rows, peak_flops=1e15, bandwidth=3e12, weight_bytes=1, answers=Answers())
    wide = WideExperts(table, 32, 256)
    assert wide.seconds(256, 512, 32, 64, 4, ep=8) == pytest.approx(8e-6)
    assert wide.seconds(256, 512, 256, 64, 4) == pytest.approx(8e-6)


def test_exchange_takes_the_nearest_group_and_counts_what_is_sent() -> None:
    sizes = np.array([1.0, 64.0, 1024.0])
    curves = {8: curve(sizes, sizes * 1e-6), 32: curve(sizes, sizes * 3e-6)}
    exchange = AlltoallExchange(curves, hidden=512, chosen=8)
    assert exchange.seconds(64, 512, 8, 64, 8) == pytest.approx(64e-6)
    assert exchange.seconds(64, 512, 8, 64, 24) == pytest.approx(192e-6)
    assert exchange.seconds(64, 1024, 4, 64, 4) == pytest.approx(64e-6)
    assert exchange.seconds(64, 512, 4, 64, 8) == pytest.approx(exchange.seconds(32, 512, 8, 64, 8))
