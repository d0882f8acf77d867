"""The study of gradient codes still finds what its page says."""

import json
from pathlib import Path

from studies._common import Options
from studies.gradient_coding import AUTHORS, KINDS, relative, study


def test_codes_pay_where_the_page_says(tmp_path: Path) -> None:
    found = study(Options(tmp_path, quick=True))
    assert (tmp_path / "gradient_coding.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((tmp_path / "gradient_coding.json").read_text())["workers"] == 64
    by_jobs = found["by_jobs"]
    short, long = by_jobs[min(by_jobs)], by_jobs[max(by_jobs)]
    assert relative(long, "m_sgc") < relative(long, "gc") < 1
    assert relative(long, "m_sgc") < relative(short, "m_sgc")
    cheap, *_, dear = found["by_part"].values()
    assert relative(cheap, "gc") < relative(cheap, "m_sgc")
    assert relative(dear, "m_sgc") < 0.9 * relative(dear, "gc")
    bursts = list(found["by_burst"].values())
    assert relative(bursts[-1], "m_sgc") > relative(bursts[0], "m_sgc")
    assert all(relative(row, "sr_sgc") > 0.97 * relative(row, "gc") for row in bursts)
    assert all(relative(found["minibatch"], kind) > 1 for kind in KINDS)
    enough, usual = found["waiting_enough"], found["by_burst"][min(found["by_burst"])]
    assert all(enough[kind]["seconds"] <= usual[kind]["seconds"] for kind in KINDS)


def test_what_is_quoted_adds_up() -> None:
    for plain, *coded in AUTHORS.values():
        assert plain > coded[0] > coded[1] > coded[2]
