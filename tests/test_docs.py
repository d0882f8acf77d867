"""The documentation tells the truth: Python runs, commands exist, links lead somewhere."""

import importlib.util
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language):
    """(page, number, text) of every fenced block of a language."""
    for page in PAGES:
        found = re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
        for n, text in enumerate(found):
            yield pytest.param(text, id=f"{page.relative_to(ROOT)}-{n}")


@pytest.mark.parametrize("text", list(blocks("python")))
def test_python_runs(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "example.py"  # policies are read from their source
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("example", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "example", module)
    spec.loader.exec_module(module)


@pytest.mark.parametrize("text", list(blocks("toml")))
def test_toml_is_a_scenario(text):
    from mltwin.serving import ServingScenario

    ServingScenario.parse({"system": "serving", **tomllib.loads(text)})


def commands():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [
            line
            for block in re.findall(r"```(?:console|bash)\n(.*?)```", text, re.S)
            for line in block.splitlines()
        ]
        for command in sorted({*lines, *re.findall(r"`(mltwin [^`]+)`", text)}):
            if command.startswith("mltwin "):
                yield pytest.param(" ".join(command.split()), id=f"{page.name}-{command[:40]}")


@pytest.mark.parametrize("command", list(commands()))
def test_commands_exist(command):
    """Verbs and options of each command shown are known."""
    from typer.testing import CliRunner

    from mltwin.app.cli import app

    words = shlex.split(command.partition("#")[0])[1:]
    verbs = []
    for word in words:
        if word.startswith("-") or not re.fullmatch(r"[a-z]+", word) or len(verbs) == 2:
            break
        verbs.append(word)
    shown = CliRunner().invoke(app, [*verbs, "--help"], env={"COLUMNS": "200"})
    if shown.exit_code and len(verbs) == 2:
        shown = CliRunner().invoke(app, [verbs[0], "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert option in shown.output, f"{option} is no option of mltwin {' '.join(verbs)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_reference_is_current():
    import reference_page

    assert reference_page.page() == reference_page.PAGE.read_text(encoding="utf-8"), (
        "run python tools/reference_page.py"
    )
