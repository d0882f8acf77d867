"""The federated page: what the command line finds, its charts, and links that are wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from drawn_page import drawn_page

import mltwin as mt
from mltwin.app.explorer import federated_charts as charts
from mltwin.app.explorer.federated_choices import (
    DEFAULTS,
    FIELDS,
    TUNE,
    command_words,
    file_of,
    methods,
    once_more,
    parameters_of,
    python_of,
    scenarios,
)
from mltwin.app.explorer.federated_view import FederatedView, made_view, view_of
from mltwin.app.explorer.field_page import paths_of
from mltwin.federated import FederatedScenario
from mltwin.text import show

SMALL = {
    **DEFAULTS,
    "methods": ["fedavg", "fedbuff"],
    "parameters": {"fedbuff": {"buffer": 5}},
    "clients.count": 30,
    "stop.updates": 300,
    "target.accuracy": 0.5,
    "alpha": 0.5,
    "seeds": 2,
}
LINK = {name: value for name, value in SMALL.items() if value != DEFAULTS[name]}


@pytest.fixture(scope="module")
def seen() -> FederatedView:
    return made_view(mt.federated.compare(scenarios(SMALL), seeds=2))


def test_choices_are_fields_of_the_scenario() -> None:
    changes = {path: DEFAULTS[path] for path in paths_of(FIELDS)}
    assert FederatedScenario().changed(changes).data()["clients"]["count"] == 100
    assert [one.name for one in scenarios(DEFAULTS)] == DEFAULTS["methods"]


def test_every_method_is_offered_and_made() -> None:
    """Each is a scenario whose names are known."""
    assert {"fedavg", "scaffold", "peers: gossip"} <= set(methods())
    for name in methods():
        one = scenarios({**SMALL, "methods": [name], "parameters": {}})[0]
        assert ("peers" in one.data()) == name.startswith("peers: ")
    assert parameters_of("fedbuff")["buffer"] == 10


def test_links_of_clients_may_change() -> None:
    moving = scenarios({**SMALL, "links": "4g"})[0].data()["clients"]
    assert moving["down_trace"] == moving["up_trace"] == "4g"
    assert "down_trace" not in scenarios(SMALL)[0].data()["clients"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": []}, "0 methods"),
        ({"methods": ["fedavg", "fedavg"]}, "different names"),
        ({"methods": ["fedavgg"]}, "is not offered here"),
        ({"methods": ["my.py:Class"]}, "is not offered here"),
        ({"methods": ["fedavg", "fedavg 2"]}, "fedavg 2: is the same as 'fedavg'; change one"),
        ({"methods": ["fedavg", "nope 2"]}, "is not offered here"),
        ({"clients.speed": "file"}, "is not offered here"),
        ({"dataset.source": "arrays"}, "is not offered here"),
        ({"dataset.source": "/etc/passwd"}, "is not offered here"),
        ({"split": "evenly"}, "is not offered here"),
        ({"links": "files"}, "is not offered here"),
        ({"links": "4g", "methods": ["peers: gossip"]}, "peers have links of constant rates"),
        ({"tune": "all"}, "is not offered here"),
        ({"parameters": {"fedbuff": {"buffers": 5}}}, "is not offered here"),
        ({"parameters": {"fedbuff": {"buffer": "x"}}}, "is no int"),
        ({"parameters": {"fedbuff": 5}}, "is no table"),
        ({"alpha": 0.0}, "is beyond"),
        ({"seeds": 11}, "11 seeds"),
        ({"clients.count": 10**6}, "more than the explorer runs"),
        ({"stop.updates": 10**8}, "more than the explorer trains on"),
    ],
)
def test_what_no_visitor_may_run_is_refused(changes: dict, words: str) -> None:
    with pytest.raises(mt.InputError, match=words):
        scenarios({**SMALL, **changes})


def test_charts_hold_the_runs(seen: FederatedView) -> None:
    assert set(seen.curves) == {"time", "rounds", "bytes", "joules"} and seen.target == 0.5
    for axis, frame in seen.curves.items():
        assert frame["low"].le(frame["mean"] + 1e-12).all()
        assert 0 < seen.needed[axis] <= seen.shown(axis)["x"].max() <= 2 * seen.needed[axis]
        assert len(charts.curve_chart(seen, axis).to_dict()["layer"]) == 3
    shares = seen.staleness.groupby("method")["share"].sum()
    assert np.allclose(shares, 1)
    fedavg = seen.staleness[seen.staleness["method"] == "fedavg"]
    assert fedavg[fedavg["share"] > 0]["staleness"].tolist() == [0]
    for name in seen.names:
        assert "encoding" in charts.staleness_chart(seen, name).to_dict()
        assert "encoding" in charts.participation_chart(seen, name).to_dict()
    assert set(seen.medians()) <= set(seen.names)


def test_where_nothing_is_learned_work_is_shown() -> None:
    choices = {**SMALL, "model.level": "time", "seeds": 1, "methods": ["fedavg", "fedasync"]}
    view = made_view(mt.federated.compare(scenarios(choices), seeds=1))
    assert view.metric is None and not view.curves and not view.medians()
    assert view.work.groupby("method")["used"].max()["fedasync"] == 300
    assert "encoding" in charts.work_chart(view).to_dict()


def test_what_is_copied_finds_the_same(seen: FederatedView, tmp_path: Path) -> None:
    script = python_of(scenarios(SMALL), SMALL).replace('found.plot("federated.png")\n', "")
    names: dict = {}
    exec(script, names)
    assert names["found"].table().rows == seen.found.table().rows
    words = command_words({**SMALL, "tune": "step of the server"}, ["a.toml"])
    assert words == ["fed", "compare", "a.toml", "--seeds", "2",
                     "--tune", "strategy.server_lr=0.1,0.3,1"]  # fmt: skip
    for field, _ in filter(None, TUNE.values()):
        assert field in ("training.lr", "strategy.server_lr")


def test_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(mt.InputError, match="there is no run"):
        view_of(tmp_path, ("fedavg",))


def test_the_page_shows_what_the_command_line_finds(seen: FederatedView) -> None:
    page = drawn_page("federated", **LINK)
    assert not page.error and not page.warning
    times = seen.medians()
    values = {metric.label: metric.value for metric in page.metric}
    assert values == {f"{name} (s)": show(seconds) for name, seconds in times.items()}
    expected = seen.found.table().rows
    assert page.dataframe[0].value["method"].tolist() == [row[0] for row in expected]
    drawn = [e for e in page.main if e.type == "vega_lite_chart"]
    assert len(drawn) == 4 + 2 * len(seen.names)


def test_tuning_and_peers_are_shown() -> None:
    link = {**LINK, "methods": ["fedavg", "peers: dpsgd"], "parameters": {}, "seeds": 1}
    page = drawn_page("federated", **link, tune="step of the server")
    assert not page.error and not page.warning
    assert page.dataframe[1].value["method"].tolist() == ["fedavg", "peers: dpsgd"]


TWICE = {
    **SMALL,
    "methods": ["fedprox", "fedprox 2", "peers: modest"],
    "parameters": {"fedprox 2": {"mu": 3.0}, "peers: modest": {"sample": 5}},
}


def test_a_method_may_be_compared_with_itself() -> None:
    first, second, peers = scenarios(TWICE)
    assert second.data()["strategy"] == {"name": "fedprox", "mu": 3.0}
    assert first.data()["strategy"] == {"name": "fedprox"} and second.name == "fedprox 2"
    assert peers.data(full=False)["peers"] == {"protocol": {"name": "modest", "sample": 5}}
    assert [file_of(one.name) for one in (second, peers)] == ["fedprox-2.toml", "peers-modest.toml"]
    assert once_more("fedprox 2", TWICE["methods"]) == "fedprox 3"
    assert once_more("peers: modest", TWICE["methods"]) == "peers: modest 2"
    names: dict = {}
    script = python_of(scenarios(TWICE), TWICE)
    exec(script[: script.index("found =")], names)
    assert [one.hash for one in names["scenarios"].values()] == [
        first.hash,
        second.hash,
        peers.hash,
    ]


def test_a_button_adds_a_method_once_more() -> None:
    link = {name: value for name, value in TWICE.items() if value != DEFAULTS[name]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mltwin.app.explorer.pages.federated.run_panel", lambda *_, **__: None)
        page = drawn_page("federated", **link)
        assert not page.error and page.multiselect[0].value == TWICE["methods"]
        (more,) = [button for button in page.button if ".fedprox.more." in str(button.key)]
        more.click().run()
    assert page.multiselect[0].value == [*TWICE["methods"], "fedprox 3"]
    assert "is the same as 'fedprox'; change one" in page.error[0].value


def test_clients_that_are_all_alike_have_no_ranks() -> None:
    choices = {**SMALL, "model.level": "time", "clients.speed": "homogeneous", "seeds": 1}
    view = made_view(mt.federated.compare(scenarios(choices), seeds=1))
    found = charts.participation_chart(view, "fedavg").to_dict()["encoding"]
    assert found["x"]["axis"] is None and found["y"]["axis"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"methods": ["my.py:Evil"]},
        {"methods": [1, {}]},
        {"parameters": {"fedavg": {"clients": "many"}}},
        {"clients.speed": "../x.json"},
        {"seeds": 10**6},
        {"alpha": 99.0},
        {"stop.updates": "[[["},
    ],
)
def test_a_wrong_link_gives_way_to_the_defaults(wrong: dict) -> None:
    wrong = {k: v if isinstance(v, str) else json.dumps(v) for k, v in wrong.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mltwin.app.explorer.pages.federated.run_panel", lambda *_, **__: None)
        page = drawn_page("federated", **wrong)
    assert "could not be followed" in page.warning[0].value and not page.error
