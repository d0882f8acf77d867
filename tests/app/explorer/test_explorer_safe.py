"""What a visitor may run: nothing that names a file or code, nothing beyond the explorer's size."""

from pathlib import Path
from typing import Any

import pytest

from mltwin import InputError, ServingScenario
from mltwin.app.explorer import uploads, workspace
from mltwin.app.explorer.safe import MAX_REQUESTS, check_scenario


def serving(**parts: Any) -> dict[str, Any]:
    return {"system": "serving", **parts}


def test_what_ships_is_allowed() -> None:
    found = check_scenario(
        serving(
            name="a/b: c",
            workload={"trace": "mooncake-conv-synthetic", "rate": 3.0},
            policy={"admit": {"name": "queue_limit", "limit": 5.0}},
            cluster={"mixed": {"engine": {"max_batch": 64}}},
        )
    )
    assert isinstance(found, ServingScenario) and found.name == "a/b: c"


@pytest.mark.parametrize(
    "text",
    ["/etc/passwd", "../x.csv", "~/x", "a\\b", "file.py:evil", "os:system", "x.json", "y" * 400],
)
@pytest.mark.parametrize(
    "where",
    [
        ("workload", "trace"),
        ("model", "name"),
        ("policy", "route"),
        ("workload", "format"),
    ],
)
def test_paths_and_code_are_refused(where: tuple[str, str], text: str) -> None:
    section, field = where
    with pytest.raises(InputError, match=r"cannot be used in the explorer|unknown"):
        check_scenario(serving(**{section: {field: text}}))


@pytest.mark.parametrize(
    "data",
    [
        serving(cluster={"mixed": {"gpu": "../gpu.json"}}),
        serving(cluster={"mixed": {"engine": {"name": "/x"}}}),
        serving(policy={"route": {"name": "my.py:f", "limit": 1.0}}),
        serving(workload={"trace": {"requests": 5, "resample": "/etc/passwd"}}),
        serving(workload={"options": {"schema": "/etc/passwd"}}),
        serving(workload={"columns": {"../x": "prompt"}}),
    ],
)
def test_nested_paths_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="cannot be used in the explorer"):
        check_scenario(data)


@pytest.mark.parametrize(
    "data",
    [
        serving(model={"name": "bert"}),
        serving(cluster={"mixed": {"gpu": "tpu"}}),
        serving(policy={"route": "lru"}),
        serving(policy={"route": {"limit": 1.0}}),
        serving(workload={"trace": "passwd"}),
    ],
)
def test_names_that_are_not_offered_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="is not offered here"):
        check_scenario(data)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"system": "unknown"},
        {"system": ["serving"]},
        serving(evil=1),
        serving(workload={"rate": float("nan")}),
        serving(workload={"requests": MAX_REQUESTS + 1}),
        serving(workload={"trace": {"requests": 10**9, "arrivals": {}}}),
        serving(cluster={"a": {"replicas": 4000}, "b": {"replicas": 4000}}),
        serving(policy={str(i): 1 for i in range(5000)}),
        serving(cluster=[]),
        serving(workload="x"),
    ],
)
def test_nonsense_is_refused_in_one_line(data: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        check_scenario(data)
    assert "\n" not in str(caught.value)


def test_only_this_visitors_uploads_may_be_traces(place: Path) -> None:
    mine = uploads.keep(workspace.private(place / "uploads" / "me"), "t.csv", b"a")
    other = uploads.keep(workspace.private(place / "uploads" / "you"), "t.csv", b"a")
    assert mine.name == other.name
    data = serving(workload={"trace": str(mine)})
    assert check_scenario(data, uploads={"t.csv": mine}).data()["workload"]["trace"] == str(mine)
    with pytest.raises(InputError):
        check_scenario(data, uploads={"t.csv": other})
    with pytest.raises(InputError):
        check_scenario(serving(model={"name": str(mine)}), uploads={"t.csv": mine})


@pytest.mark.parametrize("typed", ["..", "../x", "/etc/passwd", "a/../../x", "\0", "x" * 5000])
def test_typed_paths_stay_in_the_workspace(typed: str) -> None:
    with pytest.raises(InputError):
        workspace.inside(typed)


def test_a_link_out_of_the_workspace_is_refused(place: Path, tmp_path: Path) -> None:
    workspace.root()
    (place / "out").symlink_to(tmp_path)
    with pytest.raises(InputError, match="outside"):
        workspace.inside("out/x")
    assert workspace.inside("study/runs") == place / "study" / "runs"


@pytest.mark.parametrize("typed", ["jobs", "jobs/x", "uploads/x", "./jobs", "a/../uploads"])
def test_visitors_folders_cannot_be_typed(typed: str) -> None:
    with pytest.raises(InputError, match="belongs to a visitor"):
        workspace.inside(typed)


def test_the_workspace_is_private(place: Path) -> None:
    assert workspace.root().stat().st_mode & 0o077 == 0
