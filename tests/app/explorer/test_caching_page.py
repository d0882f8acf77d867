"""The caching page: curves of a trace, uploads, prices, and what one takes along."""

import shlex
from typing import Any

import pytest
from drawn_page import drawn_page
from streamlit.testing.v1 import AppTest

from mltwin.app.explorer import cache_charts as charts
from mltwin.app.explorer import uploads, workspace
from mltwin.app.explorer.serving_choices import UPLOAD
from mltwin.cache_curves import miss_ratio_curve
from mltwin.workloads.objects.synthetic import zipf

KEYS = "\n".join(str(k) for k in zipf(300, 4_000, 0.8, seed=1).ids.tolist()) + "\n"


def drawn(**choices: Any) -> AppTest:
    return drawn_page("caching", **choices)


def uploaded(name: str, content: bytes) -> tuple[str, str]:
    """A visitor's token, and what the choice of the file is called."""
    token = workspace.new_token()
    folder = workspace.private(workspace.root() / "uploads" / token)
    return token, UPLOAD + uploads.keep(folder, name, content).name


def codes(page: AppTest) -> list[str]:
    return [code.value for code in page.code]


def test_an_upload_is_replayed_as_the_command_line_would(tmp_path: Any) -> None:
    token, chosen = uploaded("keys.txt", KEYS.encode())
    page = drawn(trace=chosen, files=token, policies=["lru", "sieve"])
    assert not page.error
    figures = {metric.label: metric.value for metric in page.metric}
    assert figures["Requests"] == "4,000"
    assert sum(e.type == "vega_lite_chart" for e in page.main) == 2
    file = tmp_path / "keys.txt"
    file.write_text(KEYS)
    curves = miss_ratio_curve(file, ["lru", "sieve"])
    top = int(curves["lru"].capacities[-1])
    k = min(
        range(len(curves["lru"].capacities)),
        key=lambda i: abs(curves["lru"].capacities[i] - top / 10),
    )
    shown = float(figures["Misses of lru (%)"])
    assert shown == pytest.approx(100 * curves["lru"].miss_ratio[k], abs=0.01)
    assert str(workspace.root()) not in " ".join(codes(page))


def test_what_one_takes_along_runs() -> None:
    import mltwin as mt

    page = drawn(trace="zipf-1.0", policies=["lru"], sample=1.0)
    python, toml, command = codes(page)[:3]
    compile(python, "copied.py", "exec")
    assert "sample=0.01" in python
    words = shlex.split(command)
    assert words[:4] == ["mltwin", "cache", "curve", "zipf-1.0"] and "--plot" in words
    import tomllib

    scenario = mt.Scenario.parse(tomllib.loads(toml))
    assert scenario.system == "caching"


@pytest.mark.parametrize("trace", ["/etc/passwd", "../x.csv", "upload:0123.csv", "nonsense"])
def test_strangers_files_are_not_read(trace: str) -> None:
    _, other = uploaded("theirs.txt", b"1\n2\n")
    for chosen in (trace, other):
        page = drawn(trace=chosen)
        assert len(page.error) == 1 and not page.metric


def test_no_policy_is_told() -> None:
    page = drawn(policies=[])
    assert not page.exception


def test_costs_add_up() -> None:
    data = miss_ratio_curve(zipf(300, 4_000, 0.8, seed=1), ["lru", "fifo"], [3, 30, 200]).data()
    frame = charts.cost_frame(data, unit_dollars=2.0, miss_dollars=0.5)
    row = frame[(frame.policy == "lru") & (frame.capacity == 30)].iloc[0]
    missed = data["curves"][0]["miss_ratio"][1] * 4_000
    assert row.dollars == pytest.approx(2.0 * 30 + 0.5 * missed)
    assert len(charts.curve_frame(data)) == 6
