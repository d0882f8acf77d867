"""The scheduler mirror: recorded runs of the real engine, hand-made cases, conservation."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltwin.calibration.local.mirror import Mirror, Rules
from mltwin.calibration.local.replay import Match, replayed, step_match, work_of
from mltwin.calibration.local.steplog import StepLog
from mltwin.sim.errors import InputError

LOGS = sorted((Path(__file__).parent / "data").glob("*.json.gz"))


@pytest.fixture(scope="module", params=LOGS, ids=lambda path: path.name.partition(".")[0])
def log(request) -> StepLog:
    return StepLog.load(request.param)


def test_the_mirror_reproduces_recorded_steps(log: StepLog) -> None:
    """In each step the same tokens, as many sequences, as many blocks; never set right."""
    match = step_match(log)
    assert match.steps == len(log.start) > 0
    assert match.pct >= 99.9
    assert match.whole == match.steps, f"first difference in step {match.first}"


def test_recorded_runs_say_where_they_come_from(log: StepLog) -> None:
    assert {"processor", "cores", "threads", "openvino-genai"} <= set(log.machine)


def test_recorded_runs_hold_all_that_a_scheduler_does() -> None:
    assert len(LOGS) >= 12
    names = {path.name.partition(".")[0]: StepLog.load(path) for path in LOGS}
    steps = {name: list(replayed(log)) for name, log in names.items()}
    for name in ("blocks-100", "blocks-60", "blocks-30", "prefix-blocks-40"):
        assert sum(len(step.preempted) for step in steps[name]) > 5, name
    assert names["never-fits"].ignored == [r for s in steps["never-fits"] for r in s.ignored] != []
    for name, log in names.items():
        computed = sum(step.prefill for step in steps[name])
        if name in ("prefix", "prefix-closed"):
            assert computed < 0.9 * sum(log.prompt), f"{name}: nothing was found again"
    # Steps with chunks and decodes in one, and full ones.
    assert sum(s.prefill > 0 and s.decodes > 0 for s in steps["open-fast"]) > 50
    assert max(s.tokens for s in steps["backlog"]) == 256


@pytest.mark.parametrize("change", [{"budget": 255}, {"blocks": 59}, {"block_tokens": 16}])
def test_other_rules_do_not_match(change: dict) -> None:
    """The comparison can fail: an engine set up a little differently is told apart."""
    log = StepLog.load(Path(__file__).parent / "data" / "blocks-60.json.gz")
    match = step_match(replace(log, rules=replace(log.rules, **change)))
    assert match.whole < match.steps


def test_decodes_go_first_and_the_last_prompt_is_cut() -> None:
    mirror = Mirror(Rules(budget=10, blocks=100))
    mirror.add(0, prompt=4, output=3)
    step = mirror.step()
    assert (step.prefill, step.decodes, step.emitted, step.pairs) == (4, 0, [0], 10)
    mirror.add(1, prompt=5, output=1)
    mirror.add(2, prompt=7, output=2)
    step = mirror.step()
    # 1 decode (attends 5 tokens), 5 of request 1, 4 of request 2.
    assert (step.decodes, step.context, step.prefill, step.sequences) == (1, 5, 9, 3)
    assert (step.emitted, step.finished) == ([0, 1], [1])
    assert step.pairs == 15 + 10
    step = mirror.step()
    assert (step.decodes, step.prefill, step.pairs) == (1, 3, 3 * 4 + 6)
    assert (step.emitted, step.finished) == ([0, 2], [0])


def test_the_newest_gives_up_its_tail() -> None:
    """Two prompts of 62 and 95 tokens in 5 blocks: at token 65 the older takes the newer's last."""
    mirror = Mirror(Rules(budget=256, blocks=5))
    mirror.add(0, prompt=62, output=10)
    mirror.add(1, prompt=95, output=10)
    steps = [mirror.step() for _ in range(4)]
    assert [s.emitted for s in steps[:2]] == [[0, 1], [0, 1]]
    # Step 2: 64 and 97 tokens; the fourth block of request 1 is not to be had, it waits.
    assert (steps[2].emitted, steps[2].used, steps[2].preempted) == ([0], 5, [])
    # Step 3: token 65 of request 0 takes the last block of request 1, 32 tokens of it are lost.
    assert (steps[3].emitted, steps[3].preempted) == ([0], [1])
    assert mirror.groups[1].processed == 64
    while len(mirror.groups) == 2:
        mirror.step()
    step = mirror.step()
    # Computed again without output, 64 to 96, and only then the next token.
    assert (step.emitted, step.prefill, step.decodes) == ([], 32, 0)
    assert (mirror.step().emitted, mirror.groups[0].generated) == ([1], 3)


def test_what_never_fits_is_given_up() -> None:
    mirror = Mirror(Rules(blocks=2))
    mirror.add(0, prompt=100, output=1)
    assert mirror.step().prefill == 64
    step = mirror.step()
    assert (step.ignored, step.tokens, mirror.groups) == ([0], 0, [])
    assert mirror.pool.free == 2


def test_a_prefix_is_found_by_whole_blocks_and_then_in_part() -> None:
    mirror = Mirror(Rules(blocks=20, prefix_caching=True))
    ids = list(range(100))
    mirror.add(0, 70, 2, [*ids[:70], 900, 901])
    mirror.step()
    mirror.add(1, 80, 1, [*ids[:80], 902])
    # Two whole blocks, and the six tokens of the third.
    assert mirror.groups[1].processed == 70
    mirror.add(2, 64, 1, [*ids[:64], 903])
    assert mirror.groups[2].processed == 63, "the last token of a prompt is always computed"
    mirror.add(3, 64, 1, [7, *ids[:63], 904])
    assert mirror.groups[3].processed == 0


requests = st.lists(
    st.tuples(st.integers(1, 90), st.integers(1, 40), st.integers(0, 9)), min_size=1, max_size=12
)


@given(requests, st.integers(4, 40), st.integers(5, 12), st.booleans())
def test_tokens_and_blocks_are_conserved(
    drawn: list[tuple[int, int, int]], budget: int, blocks: int, caching: bool
) -> None:
    mirror = Mirror(Rules(budget=budget, blocks=blocks, prefix_caching=caching))
    counts, ended, ignored = [0] * len(drawn), [], []
    added = number = 0
    while added < len(drawn) or mirror.groups:
        while added < len(drawn) and drawn[added][2] <= number:
            prompt, output, _ = drawn[added]
            # Prompts begin alike; outputs are nobody else's.
            tokens = [*range(prompt), *range(1000 * (added + 1), 1000 * (added + 1) + output)]
            mirror.add(added, prompt, output, tokens)
            added += 1
        number += 1
        if not mirror.groups:
            continue
        step = mirror.step()
        assert 0 <= step.used <= blocks and step.tokens <= budget
        for request in step.emitted:
            counts[request] += 1
        ended += step.finished
        ignored += step.ignored
    assert mirror.pool.free == blocks
    assert sorted(ended + ignored) == list(range(len(drawn)))
    for request in ended:
        assert counts[request] == drawn[request][1]


def test_a_log_comes_back_as_it_was(tmp_path, log: StepLog) -> None:
    log.save(tmp_path / "a.gz")
    assert StepLog.load(tmp_path / "a.gz") == log
    work = work_of(log)
    assert len(work.seconds) == len(log.start) and (work.seconds > 0).all()


def test_a_file_that_is_no_log(tmp_path) -> None:
    for name, text in (("a.gz", b"nothing"), ("b.gz", b"")):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(InputError, match=name):
            StepLog.load(tmp_path / name)


def test_matches_add_up() -> None:
    both = Match(10, 9, 8, first=3) + Match(30, 30, 30)
    assert (both.steps, both.emissions, both.whole, both.first, both.pct) == (40, 39, 38, 3, 97.5)
