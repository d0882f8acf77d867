"""A check's outcome as JUnit XML, which CI servers show as tests: one for each metric."""

import re
import xml.etree.ElementTree as ET

from .outcome import CheckReport, Line, Part
from .render import sentence

# XML 1.0 has no place for these, escaped or not.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(report: CheckReport) -> str:
    """A test suite for each scenario, a case for each metric and one for its behaviour.

    A regression is a failure, a stale or missing baseline and a run that failed an error, and what
    is inconclusive is skipped (a failure where the check is strict).
    """
    root = ET.Element("testsuites", name="mltwin check")
    for part in report.parts:
        suite = ET.SubElement(root, "testsuite", name=_legal(f"mltwin.{part.name}"))
        _behaviour(suite, report, part)
        for line in part.lines:
            _case(suite, report, part, line)
        cases = suite.findall("testcase")
        suite.set("tests", str(len(cases)))
        for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(key, str(sum(case.find(tag) is not None for case in cases)))
    ET.indent(root, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _behaviour(suite: ET.Element, report: CheckReport, part: Part) -> None:
    case = _new(suite, part, "behaviour")
    if part.status == "failed":
        _add(case, "failure", part.behaviour, part)
    elif part.status != "compared":
        _add(case, "error", part.behaviour, part)
    elif report.exact and part.changed:
        _add(case, "failure", part.behaviour, part)
    elif part.changed:
        ET.SubElement(case, "system-out").text = _legal(part.behaviour)


def _case(suite: ET.Element, report: CheckReport, part: Part, line: Line) -> None:
    case = _new(suite, part, line.metric)
    told = sentence(part, line)
    if report.line_fails(line):
        _add(case, "failure", told, part)
    elif line.verdict == "inconclusive":
        _add(case, "skipped", told, part)
    else:
        ET.SubElement(case, "system-out").text = _legal(told)


def _new(suite: ET.Element, part: Part, name: str) -> ET.Element:
    return ET.SubElement(
        suite, "testcase", classname=_legal(f"mltwin.{part.name}"), name=_legal(name), time="0"
    )


def _add(case: ET.Element, tag: str, message: str, part: Part) -> None:
    found = ET.SubElement(case, tag, message=_legal(message))
    found.text = _legal("\n".join([message, *(f"again: {c}" for c in part.commands)]))


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)
