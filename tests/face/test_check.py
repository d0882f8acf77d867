"""Names are looked up before anything runs."""

import pytest

import mltwin as mt


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("policy.route", "least_tokenz", "policy.route: .*did you mean 'least_tokens'"),
        ("policy.priority", {"name": "aging", "tokens": 1.0}, "policy.priority.*tokens"),
        ("cluster.mixed.gpu", "h1000", "cluster.mixed.gpu: no GPU profile 'h1000'"),
        ("model.name", "lama", "model.name: no model 'lama'"),
        ("workload.trace", "azure-konv", "workload.trace: no trace or file 'azure-konv'"),
    ],
)
def test_what_is_not_there_is_told_with_its_field(field, value, said) -> None:
    with pytest.raises(mt.InputError, match=said):
        mt.ServingScenario().set(field, value).check()


@pytest.mark.parametrize(
    "trace", ["azure-conv-synthetic", "synthetic:azure-conv", "azure-conv-2023", {"requests": 5}]
)
def test_traces_that_are_known_pass(trace) -> None:
    mt.ServingScenario().set("workload.trace", trace).check()


def test_other_systems_have_nothing_to_look_up() -> None:
    assert mt.Scenario().check() is None


def test_a_sweep_looks_before_it_runs() -> None:
    space = {"grid": {"policy.route": ["least_tokens", "least_tokenz"]}}
    base = mt.ServingScenario().set("workload.requests", 20)
    with pytest.raises(mt.InputError, match=r"point 2 of 2.*did you mean 'least_tokens'"):
        mt.sweep(base, space)
