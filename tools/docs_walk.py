"""Runs the documentation as a reader would: every block of a page, in order, in one empty folder.

`python tools/docs_walk.py PAGE.. ` says what fails; `--write` puts what the commands print now into
the blocks titled "Output", and what they draw in place of pictures that say so. How pages are
written stands in CONTRIBUTING.md.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)(?P<rest>.*)$")
_TITLE = re.compile(r'title="([^"]*)"')
_NOT_RUN = re.compile(r"^\s*<!-- not run: (.+?) -->\s*$")
_DRAWN = re.compile(r"^<!-- drawn: (\S+) -->\n!\[[^\]]*\]\((\S+)\)", re.M)
OUTPUT = "Output"
LIMIT_S = 300


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        line: number of its first line of text, from 1.
        language, title: as given at the fence, "" where not.
        text: without the fence's indent, ends with a line break.
        indent: spaces before the fence.
        not_run: the reason why it is not run, "" if it is.
    """

    line: int
    language: str
    title: str
    text: str
    indent: str
    not_run: str


class WalkError(AssertionError):
    """A block does not do what its page says."""


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order.

    Raises WalkError for a fence that is not closed.
    """
    found = []
    lines = page.read_text(encoding="utf-8").splitlines()
    at, above = 0, ""
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence is None:
            above = lines[at] if lines[at].strip() else above
            at += 1
            continue
        closing = re.compile(rf"^ *{fence['ticks']} *$")
        end = next((i for i in range(at + 1, len(lines)) if closing.match(lines[i])), None)
        if end is None:
            raise WalkError(f"{page}:{at + 1}: the fence is not closed")
        indent = fence["indent"]
        text = "".join(line.removeprefix(indent) + "\n" for line in lines[at + 1 : end])
        title, reason = _TITLE.search(fence["rest"]), _NOT_RUN.match(above)
        found.append(
            Block(
                at + 2,
                fence["language"],
                title[1] if title else "",
                text,
                indent,
                reason[1] if reason else "",
            )
        )
        at, above = end + 1, ""
    return found


def walk(page: Path, folder: Path) -> dict[int, str]:
    """Run the blocks of a page in an empty folder.

    Returns what now stands where a page's output differs: line of the block to its new text.
    Raises WalkError: a block that fails, a file that cannot be read or that nothing uses.
    """
    found = blocks(page)
    printed, changed = "", {}
    for number, block in enumerate(found):
        where = f"{page.name}:{block.line}"
        if block.not_run:
            continue
        if block.title == OUTPUT:
            if not same_output(block.text, printed):
                changed[block.line] = printed
        elif block.title:
            write_block(block, folder, where)
            check_used(block, found[number + 1 :], where)
        elif block.language in ("bash", "console", "python"):
            printed = run_block(block, folder, f"_block_{number}.py", where)
        else:
            check_data(block, where)
    for made, _ in drawn(page):
        if not (folder / made).is_file():
            raise WalkError(f"{page.name}: no command draws {made}")
    return changed


def drawn(page: Path) -> list[tuple[str, Path]]:
    """Pictures that a page's commands draw: the file they write, and the one the page shows."""
    found = _DRAWN.findall(page.read_text(encoding="utf-8"))
    return [(made, page.parent / shown) for made, shown in found]


def write_block(block: Block, folder: Path, where: str) -> None:
    """Write a titled block to the file that its title names."""
    path = folder / block.title
    if Path(block.title).is_absolute() or ".." in Path(block.title).parts:
        raise WalkError(f"{where}: {block.title} is outside the folder of the page")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")


def check_used(block: Block, later: list[Block], where: str) -> None:
    """A file that a page shows must be used by what stands below it."""
    path = Path(block.title)
    names = {path.name, path.stem} if path.suffix == ".py" else {path.name}
    text = "".join(other.text for other in later if other.title != OUTPUT)
    if not any(name in text for name in names):
        raise WalkError(f"{where}: nothing below uses {block.title}")


def run_block(block: Block, folder: Path, script: str, where: str) -> str:
    """Run a block of commands or of Python; what it printed."""
    if block.language != "python":
        command = ["bash", "-euo", "pipefail", "-c", block.text]
    else:
        (folder / script).write_text(block.text, encoding="utf-8")
        command = [sys.executable, script]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WalkError(f"{where}: not done after {LIMIT_S} s:\n{block.text}") from None
    if done.returncode:
        said = (done.stdout + done.stderr)[-2000:]
        raise WalkError(f"{where}: exit code {done.returncode}:\n{block.text}\n{said}")
    return done.stdout


def environment() -> dict[str, str]:
    """Of the commands: this Python first on the path, 80 columns, no colours, no measured data."""
    kept = {name: value for name, value in os.environ.items() if name != "MLTWIN_DATA"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    one = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NO_COLOR")}
    return kept | one | {"PATH": path, "COLUMNS": "80", "MPLBACKEND": "Agg", "TERM": "dumb"}


def same_output(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed.

    Blanks at line ends, empty lines around it and how many there are between do not count. In the
    page a line `...` stands for any lines, `…` for any text within a line.

    >>> same_output("a\\n...\\nd …s\\n", "a\\nb\\nc\\nd 12 s\\n")
    True
    >>> same_output("a\\nb\\n", "a\\nc\\n")
    False
    """
    pattern = ""
    for line in trimmed(shown):
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r"[^\n]*?".join(re.escape(part) for part in line.split("…")) + r"\n"
    text = "".join(f"{line}\n" for line in trimmed(printed))
    return re.fullmatch(pattern, text) is not None


def trimmed(text: str) -> list[str]:
    """Lines without blanks at their ends; of empty ones only single ones between others."""
    lines = "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")
    return re.sub(r"\n{3,}", "\n\n", lines).split("\n") if lines else []


def check_data(block: Block, where: str) -> None:
    """A block of data is what it claims to be.

    Raises WalkError for JSON or YAML that cannot be read, or TOML that is no serving scenario.
    """
    from mltwin import InputError
    from mltwin.serving import ServingScenario

    try:
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "yaml":
            check_yaml(block.text)
        elif block.language == "toml":
            ServingScenario.parse({"system": "serving", **tomllib.loads(block.text)})
    except (ValueError, InputError) as error:
        raise WalkError(f"{where}: {error}") from None


def check_yaml(text: str) -> None:
    """Raises ValueError for text that is no YAML."""
    import yaml

    try:
        yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def rewritten(page: Path, changed: dict[int, str]) -> str:
    """The text of a page with other outputs."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in reversed(blocks(page)):
        if block.line in changed:
            count = block.text.count("\n")
            fresh = [block.indent + line for line in trimmed(changed[block.line])]
            lines[block.line - 1 : block.line - 1 + count] = [line.rstrip() for line in fresh]
    return "".join(f"{line}\n" for line in lines)


def main(arguments: list[str]) -> int:
    """Walk the pages given; 1 if one of them fails or shows what is not printed."""
    failed = 0
    for page in (Path(name) for name in arguments if name != "--write"):
        with tempfile.TemporaryDirectory() as folder:
            try:
                changed = walk(page, Path(folder))
            except WalkError as error:
                print(error, file=sys.stderr)
                failed = 1
                continue
            if "--write" in arguments:
                for made, shown in drawn(page):
                    shutil.copyfile(Path(folder) / made, shown)
        if changed and "--write" in arguments:
            page.write_text(rewritten(page, changed), encoding="utf-8")
            print(f"{page}: {len(changed)} outputs written")
        elif changed:
            failed = 1
            for line, text in changed.items():
                print(f"{page}:{line}: prints now\n{text}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
