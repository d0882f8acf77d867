"""Runs the studies and writes their pages: docs/gallery/<study>.md with picture, tables and code.

`python tools/gallery.py [STUDY ...] [--quick] [--workers N]` runs them; `--pages` only writes the
pages anew from the studies' text, with the pictures and tables of the last run.
"""

import argparse
import importlib
import inspect
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "gallery"
BEGIN, END = "<!-- tables: written by a run -->", "<!-- end of tables -->"
# Heads of a docstring's paragraphs that stand out on the page.
HEADS = ("Paper:", "Theirs:", "What we find", "Limits:")


def studies() -> list[str]:
    """Names of the studies."""
    return sorted(p.stem for p in (ROOT / "studies").glob("*.py") if not p.stem.startswith("_"))


def text_of(name: str) -> tuple[str, str]:
    """The first line of a study's docstring, and the rest as Markdown."""
    document = inspect.getdoc(importlib.import_module(f"studies.{name}")) or ""
    title, _, rest = document.partition("\n")
    lines: list[str] = []
    for line in rest.strip().splitlines():
        head = next((head for head in HEADS if line.startswith(head)), None)
        if head:
            line = f"**{head}**{line.removeprefix(head)}"
        if (
            line.startswith(("- ", "Ours:"))
            and lines
            and lines[-1]
            and lines[-1][:2] not in ("- ", "  ")
        ):
            lines.append("")
        lines.append(line)
    return title.strip(), "\n".join(lines) + "\n"


def page(name: str, tables: str) -> str:
    """The page of a study around its tables (Markdown)."""
    title, body = text_of(name)
    source = (ROOT / "studies" / f"{name}.py").read_text(encoding="utf-8")
    code = "".join(f"    {line}".rstrip() + "\n" for line in source.splitlines())
    files = [f"[{p.name}]({p.name})" for p in sorted(PAGES.glob(f"{name}-*.csv"))]
    files.append(f"[{name}.json]({name}.json)")
    return f"""# {title}

[![{title}]({name}.png)]({name}.png)

{body}
## Figures

{BEGIN}

{tables.strip()}

{END}

As files: {", ".join(files)}.

## Run it, change it

<!-- not run: takes up to three minutes, and may need measured data -->
```bash
python -m studies.{name} --out results/{name}
```

The constants at the top are there to be changed; `--quick` gives a first look in seconds.

??? example "studies/{name}.py"

    <!-- not run: takes up to three minutes, and may need measured data -->
    ```python
{code.rstrip()}
    ```
"""


def index(names: list[str]) -> str:
    """The page that shows all studies."""
    parts = [
        "# Gallery\n",
        "Published results, made again with mltwin: each study is a page of Python that can be "
        "changed, and says where it agrees with its paper, where not, and why. The pictures are "
        "ours. How to write one: `studies/README.md`.\n",
    ]
    for name in names:
        title, body = text_of(name)
        paper = re.search(r"\*\*Paper:\*\*(.*?)(?:\n\n|\Z)", body, re.DOTALL)
        about = " ".join(paper[1].split()) if paper else ""
        parts.append(f"## [{title}]({name}.md)\n\n[![{title}]({name}.png)]({name}.md)\n\n{about}\n")
    return "\n".join(parts)


def kept_tables(name: str) -> str:
    """The tables that the study's page holds now."""
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    return text.partition(BEGIN)[2].partition(END)[0]


def run(name: str, quick: bool, workers: int | None) -> str:
    """Run a study, put its files into the gallery, and return its tables."""
    from studies._common import Options

    module = importlib.import_module(f"studies.{name}")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        module.study(Options(out, quick, workers))
        for old in PAGES.glob(f"{name}-*.csv"):
            old.unlink()
        for path in sorted(out.iterdir()):
            if path.suffix in (".png", ".csv", ".json"):
                shutil.copyfile(path, PAGES / path.name)
        return (out / f"{name}.md").read_text(encoding="utf-8")


def write(names: list[str], tables: dict[str, str]) -> None:
    """Write the pages of these studies and the index of all that have one."""
    for name in names:
        (PAGES / f"{name}.md").write_text(page(name, tables[name]), encoding="utf-8")
    shown = [name for name in studies() if (PAGES / f"{name}.md").is_file()]
    (PAGES / "index.md").write_text(index(shown), encoding="utf-8")


def main() -> int:
    """Run what was asked for; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="*", metavar="STUDY", help="default: all")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    parser.add_argument("--pages", action="store_true", help="run nothing")
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    names = given.studies or studies()
    if unknown := sorted(set(names) - set(studies())):
        parser.error(f"no study {unknown[0]!r}; there are {', '.join(studies())}")
    PAGES.mkdir(parents=True, exist_ok=True)
    tables = {}
    for name in names:
        if given.pages:
            tables[name] = kept_tables(name)
            continue
        began = time.perf_counter()
        tables[name] = run(name, given.quick, given.workers)
        print(f"{name}: {time.perf_counter() - began:.0f} s")
    write(names, tables)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    sys.exit(main())
