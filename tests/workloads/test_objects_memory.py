"""A stream of a long file keeps to a bound of memory that does not depend on its length."""

import json
import subprocess
import sys

import numpy as np
import pytest

from mltwin.sim.rng_arrays import bits
from mltwin.workloads.objects import stream_objects
from mltwin.workloads.objects.binary import ORACLE_GENERAL

MEASURE = """
import json, resource, sys
from mltwin.workloads.objects import stream_objects
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
requests = objects = 0
for trace in stream_objects(sys.argv[1], limit=300_000):
    pass
before = peak()
for trace in stream_objects(sys.argv[1]):
    requests, objects = requests + len(trace), trace.objects
print(json.dumps({"requests": requests, "objects": objects, "grown_mib": peak() - before}))
"""


def written(path, pieces, objects):
    rows = 1_000_000
    with open(path, "wb") as out:
        for piece in range(pieces):
            records = np.zeros(rows, ORACLE_GENERAL)
            at = np.arange(piece * rows, (piece + 1) * rows)
            records["object"] = bits(0, 0, at % objects)
            records["time"] = at // 1000
            records["size"], records["next_access"] = 1, -1
            records.tofile(out)
    return path


@pytest.mark.slow
def test_twenty_million_requests_in_bounded_memory(tmp_path):
    """480 MB of records, 500,000 objects: the process grows by far less than the file."""
    path = written(tmp_path / "long.bin", 20, 500_000)
    said = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    found = json.loads(said.stdout)
    assert (found["requests"], found["objects"]) == (20_000_000, 500_000)
    assert found["grown_mib"] < 100


def test_pieces_hold_no_more_than_asked(tmp_path):
    path = written(tmp_path / "short.bin", 1, 1000)
    sizes = [len(piece) for piece in stream_objects(path, chunk=300_000)]
    assert sizes == [300_000, 300_000, 300_000, 100_000]
    for piece in stream_objects(path, chunk=300_000):
        assert piece.ids.base is None or piece.ids.base.nbytes <= 4 * 300_000
