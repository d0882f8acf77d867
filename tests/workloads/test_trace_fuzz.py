"""Damaged files of every format: each is read, or refused in one line; nothing else happens."""

import gzip
import json
import random
from pathlib import Path

import pytest

from mltwin.sim.errors import InputError
from mltwin.workloads import Trace, read_trace

POISSON = {"process": "poisson", "rate_per_s": 1.0}
TRACE = Trace.make(
    [0, 100_000, 300_000],
    [40, 50, 60],
    [1, 2, 3],
    session=[0, 0, -1],
    block_count=[1, 2, 3],
    block_ids=[0, 0, 1, 0, 1, 2],
    block_tokens=16,
)
PLAIN = TRACE.changed(
    session=None, block_tokens=0, block_start=None, block_count=None, block_ids=None
)
ODD = [
    b"", b"-1", b"NaN", b"1e400", b"9" * 30, b"9" * 5000, b"\x00", b"\xff\xfe", b"\n", b"\r", b'"',
    b",", b"{", b"[" * 3000, b"null", b"true", b"2.5", b"\xef\xbb\xbf", b"=1+1", b" ", b"1e-400",
]  # fmt: skip


def samples(folder: Path) -> dict[str, bytes]:
    """A small good file of each format, by file name."""
    moon = TRACE.changed(prompt=TRACE.prompt * 32, block_tokens=512)
    bench = {"input_lens": [1, 2], "output_lens": [3, 4], "start_times": [0.5, 1.5]}
    measured = {
        "input_toks": 5, "output_toks": 6, "arrival_time": 7.5, "queued_ts": 1.0,
        "scheduled_ts": 1.5, "first_token_ts": 2.0, "last_token_ts": 3.0,
    }  # fmt: skip
    return {
        "own.csv": TRACE.to_csv(folder / "a").read_bytes(),
        "own.jsonl": TRACE.to_jsonl(folder / "a").read_bytes(),
        "azure.csv": PLAIN.to_csv(folder / "a", "azure").read_bytes(),
        "vidur.csv": PLAIN.to_csv(folder / "a", "vidur").read_bytes(),
        "mooncake.jsonl": moon.to_jsonl(folder / "a", "mooncake", lossy=True).read_bytes(),
        "saved.parquet": TRACE.save(folder / "a").read_bytes(),
        "own.csv.gz": gzip.compress(TRACE.to_csv(folder / "a").read_bytes()),
        "bench.json": json.dumps(bench).encode(),
        "run.jsonl": (json.dumps(measured) + "\n").encode() * 2,
        "burst.csv": b"Timestamp,Model,Request tokens,Response tokens\n1,m,2,3\n2,n,4,5\n",
    }


def damage(content: bytes, chance: random.Random) -> bytes:
    """One to three cuts, insertions, swaps or doublings."""
    for _ in range(chance.randint(1, 3)):
        at, to = sorted(chance.randrange(len(content) + 1) for _ in range(2))
        kind = chance.randrange(4)
        if kind == 0:
            content = content[:at] + chance.choice(ODD) + content[at:]
        elif kind == 1:
            content = content[:at] + content[min(to, at + 20) :]
        elif kind == 2:
            content = content[:at]
        else:
            content = content[:to] + content[at:]
        content = content or b"x"
    return content


def hold(folder: Path, rounds: int, seed: int) -> int:
    """Read `rounds` damaged files of each format; the number that were refused."""
    chance = random.Random(seed)
    refused = 0
    for name, good in samples(folder).items():
        path = folder / name
        path.write_bytes(good)
        assert len(read_trace(path)) > 0
        for _ in range(rounds):
            path.write_bytes(damage(good, chance))
            options = {"on_error": chance.choice(["fail", "skip"]), "sort": chance.random() < 0.5}
            try:
                trace = read_trace(path, **options)
            except InputError as error:
                refused += 1
                assert "\n" not in str(error) and len(str(error)) < 1500
            else:
                assert len(trace) > 0 and trace.prompt.min() >= 1 and trace.arrival.min() >= 0
    return refused


def test_damaged_files(tmp_path):
    assert hold(tmp_path, 60, seed=1) > 100


@pytest.mark.slow
def test_many_damaged_files(tmp_path):
    assert hold(tmp_path, 1500, seed=2) > 3000
