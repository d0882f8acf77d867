"""Reports: readable, and nothing in a name is read as markup, XML or a shell command."""

import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from mltwin.gate.outcome import CheckReport, Line, Part
from mltwin.gate.render import escaped
from mltwin.gate.tolerances import Tolerance

NASTY = "a|b`c` <script>&]]> [x](http://e.vil) *b* _i_ @you $x$\n# h\x00\x1b[31m é 🙂"


def report(verdict="regression", metric="p99_ttft_ms", name="chat", status="compared", **options):
    line = Line(
        metric,
        verdict,
        "lower",
        Tolerance(0.01),
        base=100.0,
        now=103.0,
        change=0.03,
        low=0.02,
        high=0.04,
        seeds=10,
    )
    lines = (line,) if status == "compared" else ()
    commands = (f"mltwin check {shlex.quote(name)}.json", "mltwin run x --seed 3")
    part = Part(
        name, status, Path("x.json"), why=f"why {name}", lines=lines, seeds=10, commands=commands
    )
    return CheckReport((part,), **options)


def test_plain_text():
    text = str(report())
    assert (
        "chat p99_ttft_ms: regression +3.00 % (+2.00..+4.00 %), tolerance 1 %, 100 -> 103" in text
    )
    assert "again: mltwin check chat.json" in text and "FAILED (exit 1)" in text


def test_inconclusive_is_explained():
    assert "--hold" in str(report("inconclusive")) and "again" not in str(report("inconclusive"))
    assert "again" in str(report("inconclusive", strict=True))


def test_markdown():
    text = report().markdown()
    assert text.startswith("### mltwin check: FAILED (exit 1)")
    assert (
        "| chat | p99_ttft_ms | 100 | 103 | +3.00 % | +2.00..+4.00 % | 1 % | ❌ regression |"
        in text
    )
    assert "```sh\n  mltwin check chat.json" in text
    assert "all metrics" in report("same").markdown()


def test_nasty_names_in_markdown():
    text = report(metric=NASTY, name=NASTY).markdown()
    rows = [row for row in text.splitlines() if row.startswith("| a")]
    assert rows and all(
        row.replace("\\|", "").count("|") == cells for row, cells in zip(rows, (5, 9), strict=True)
    )
    bare = re.sub(r"\\.", "", text.split("```")[0])  # what no backslash stands before
    for markup in ("<script", "](", "`", "*b", "_i", "@you", "\n# h", "$", "://"):
        assert markup not in bare, markup


def test_commands_cannot_leave_their_block():
    text = report(name="```\n<b>").markdown()
    fence = next(line.strip() for line in text.splitlines() if line.strip().endswith("sh"))
    assert fence == "````sh" and text.count("````") == 2


def test_an_inconclusive_escape_keeps_backslashes():
    assert escaped("a\\|b") == "a\\\\\\|b"


@pytest.mark.parametrize(
    ("verdict", "status", "options", "tag"),
    [
        ("regression", "compared", {}, "failure"),
        ("missing", "compared", {}, "failure"),
        ("inconclusive", "compared", {}, "skipped"),
        ("inconclusive", "compared", {"strict": True}, "failure"),
        ("same", "compared", {}, None),
        ("", "stale", {}, "error"),
        ("", "failed", {}, "failure"),
    ],
)
def test_junit(verdict, status, options, tag):
    root = ET.fromstring(report(verdict, status=status, **options).junit())
    (suite,) = root
    found = [child.tag for case in suite for child in case if child.tag != "system-out"]
    assert found == ([tag] if tag else [])
    assert suite.get("tests") == str(len(suite)) and suite.get("name") == "mltwin.chat"
    if tag in ("failure", "error"):
        assert "mltwin check chat.json" in suite.find(f".//{tag}").text


def test_nasty_names_in_junit():
    root = ET.fromstring(report(metric=NASTY, name=NASTY).junit())
    case = root[0][1]
    assert "<script>&]]>" in case.get("name") and "\x00" not in case.get("name")


def test_data_is_plain():
    import json

    data = json.loads(json.dumps(report().data(), allow_nan=False))
    assert data["exit_code"] == 1 and data["scenarios"][0]["metrics"][0]["low"] == 0.02
