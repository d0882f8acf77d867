"""A workspace of its own for each test."""

from pathlib import Path

import pytest

from mltwin.app.explorer import workspace


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace of this test."""
    folder = tmp_path / "workspace"
    monkeypatch.setenv(workspace.VARIABLE, str(folder))
    return folder
