"""The documentation tells the truth: what it shows runs, commands exist, links lead somewhere."""

import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
from docs_walk import Block, WalkError, blocks, check_data, rewritten, same_output, walk

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = ("bash", "console")


def to_walk(page: Path) -> bool:
    """Whether a reader may follow a page: its blocks then run in order, in one folder."""
    return page.parent == ROOT / "docs" / "how-to" or any(
        block.language in COMMANDS and not block.not_run for block in blocks(page)
    )


# The README's two commands are those that build this environment and run this test.
WALKED = [page for page in PAGES[1:] if to_walk(page)]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(pages, language):
    """Every block of a language that is to be run or checked."""
    for page in pages:
        for block in blocks(page):
            if block.language == language and not block.not_run:
                yield pytest.param(block, id=f"{name_of(page)}-{block.line}")


@pytest.mark.parametrize("page", WALKED, ids=name_of)
def test_page_can_be_followed(page, tmp_path):
    changed = walk(page, tmp_path)
    told = "".join(f"\n{name_of(page)}:{line} shows other than\n{t}" for line, t in changed.items())
    assert not changed, f"{told}\nmend: python tools/docs_walk.py --write {name_of(page)}"


@pytest.mark.parametrize("block", list(blocks_of([p for p in PAGES if p not in WALKED], "python")))
def test_python_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "example.py"  # policies are read from their source
    file.write_text(block.text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("example", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "example", module)
    spec.loader.exec_module(module)


@pytest.mark.parametrize("language", ["toml", "json", "yaml"])
def test_data_can_be_read(language):
    for page in PAGES:
        if page not in WALKED:
            for block in blocks(page):
                if block.language == language and not block.title and not block.not_run:
                    check_data(block, f"{name_of(page)}:{block.line}")


def commands():
    for page in PAGES:
        shown = [b.text for b in blocks(page) if b.language in COMMANDS]
        lines = "".join(shown).replace("\\\n", " ").splitlines()
        inline = re.findall(r"`(mltwin [^`]+)`", page.read_text(encoding="utf-8"))
        for command in sorted({*lines, *inline}):
            if command.startswith("mltwin "):
                short = " ".join(command.split())
                yield pytest.param(short, id=f"{page.name}-{short[:40]}")


@pytest.mark.parametrize("command", list(commands()))
def test_commands_exist(command):
    """Verbs and options of each command shown are known."""
    from typer.testing import CliRunner

    from mltwin.app.cli import app

    words = shlex.split(re.split(r" \|\| | [|>&;] ", command.partition(" #")[0])[0])[1:]
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


def module_commands():
    """(command, page) of each `python -m` and `make` that a page shows."""
    for page in PAGES:
        for block in blocks(page):
            if block.language in COMMANDS:
                for line in block.text.replace("\\\n", " ").splitlines():
                    words = shlex.split(line, comments=True)
                    if words[:2] == ["python", "-m"] or words[:1] == ["make"]:
                        yield pytest.param(words, id=f"{page.name}-{' '.join(words)[:50]}")


@pytest.mark.parametrize("words", list(module_commands()))
def test_modules_and_targets_exist(words):
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
        assert not [w for w in words[1:] if "=" not in w and w not in targets]
        return
    found = importlib.util.find_spec(words[2])
    assert found is not None and found.origin
    # Options may be read by a module that several of a folder share.
    beside = Path(found.origin).parent.glob("*.py")
    source = "".join(path.read_text("utf-8") for path in beside)
    for option in (word.partition("=")[0] for word in words[3:] if word.startswith("--")):
        assert f'"{option}"' in source, f"{words[2]} has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("tool", ["reference_page", "cli_page", "rules_page"])
def test_generated_page_is_current(tool):
    made = importlib.import_module(tool)
    pages = getattr(made, "PAGES", None) or {made.PAGE: made.page}
    for name, page in pages.items():
        current = (ROOT / "docs" / name).read_text(encoding="utf-8")  # an absolute path stays
        assert page() == current, f"run python tools/{tool}.py"


# The walk itself: a page that does not do what it says must be caught.

FOLLOWED = """
```text title="words.txt"
one two
```

```bash
wc -w < words.txt
echo took 12 ms
```

```text title="Output"
2
took … ms
```

<!-- not run: it would fail -->
```bash
false
```
"""


def page_of(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    (tmp_path / "folder").mkdir(exist_ok=True)
    return page, tmp_path / "folder"


def test_walk_follows_a_page(tmp_path):
    assert walk(*page_of(tmp_path, FOLLOWED)) == {}


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("wc -w <", "cat words.text <", "exit code"),
        ("<!-- not run: it would fail -->", "", "exit code"),
        ("wc -w < words.txt", "echo 2", "nothing below uses"),
        ("words.txt", "../words.txt", "outside the folder"),
        (
            "one two",
            "one two\n```\n\n<!-- drawn: a.png -->\n![](b.png)\n\n```text",
            "no command draws",
        ),
        ("```bash\nfalse\n```", "```bash\nfalse\n", "not closed"),
    ],
)
def test_walk_refuses(tmp_path, old, new, why):
    page, folder = page_of(tmp_path, FOLLOWED.replace(old, new, 1))
    with pytest.raises(WalkError, match=why):
        walk(page, folder)


def test_walk_sees_and_mends_other_output(tmp_path):
    page, folder = page_of(tmp_path, FOLLOWED.replace("\n2\n", "\n3\n"))
    changed = walk(page, folder)
    assert list(changed.values()) == ["2\ntook 12 ms\n"]
    assert rewritten(page, changed) == FOLLOWED.replace("took … ms", "took 12 ms")


@pytest.mark.parametrize(
    ("language", "text"),
    [("json", "{"), ("yaml", "a: [1"), ("toml", "a = "), ("toml", "[workload]\nrates = 1")],
)
def test_wrong_data_is_refused(language, text):
    with pytest.raises(WalkError):
        check_data(Block(1, language, "", text, "", ""), "here")


def test_output_may_leave_out_lines():
    assert same_output("a\n...\nz\n", "a\nb\nc\nz\n\n")
    assert not same_output("a\n...\nz\n", "a\nb\nc\n")
