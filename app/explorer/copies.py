"""A view as something to take along: a scenario as TOML, as Python, as a command line."""

import pprint
from typing import Any

from mltwin import Scenario
from mltwin.tomlfile import write_toml


def toml_of(scenario: Scenario) -> str:
    """The scenario as a TOML file: what differs from the defaults."""
    return write_toml(scenario.data(full=False))


def python_of(scenario: Scenario, *, error_bars: int = 0) -> str:
    """A script that runs the scenario and prints what the command line prints."""
    text = pprint.pformat(scenario.data(full=False), width=80, sort_dicts=False)
    options = f"error_bars={error_bars}" if error_bars else ""
    lines = [
        "import mltwin as mt",
        "",
        f"scenario = mt.Scenario.parse({_indented(text)})",
        f"result = scenario.run({options})",
        "for table in result.report():",
        "    print(table)",
    ]
    return "\n".join(lines) + "\n"


def command_of(toml: str, file: str = "scenario.toml", *, words: Any = ("run",)) -> str:
    """Shell lines that write the TOML to a file and hand it to a command of mltwin.

    words: the command and its options, `("run", "--error-bars", "10")`; the file comes after the
    first of them.
    """
    verb, *options = words
    tail = "".join(f" {word}" for word in options)
    return f"cat > {file} <<'END'\n{toml.strip()}\nEND\nmltwin {verb} {file}{tail}\n"


def _indented(text: str) -> str:
    """A dict as `pprint` writes it, on lines of its own where it takes more than one."""
    if "\n" not in text:
        return text
    inner = text[1:-1].replace("\n ", "\n    ")
    return "{\n    " + inner + ",\n}"
