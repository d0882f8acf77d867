"""What a careless or a hostile user types: one clear line on standard error, and exit code 2 or 3.

2 is wrong input; 3 is a policy that broke an invariant while it ran.
"""

import gzip
import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mltwin.app import cli

SCENARIO = """
system = "serving"

[workload]
requests = 20
rate = 8.0

[model]
name = "llama-3.1-8b"

[cluster.mixed]
replicas = 2
"""
PLAIN = SCENARIO.replace("requests = 20\nrate = 8.0\n", "")
HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens\n"
Call = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def call(capsys, tmp_path, monkeypatch) -> Call:
    """Run the command line in a folder with `s.toml`; exit code, lines on standard error."""
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text(SCENARIO)
    Path("plain.toml").write_text(PLAIN)

    def run(*arguments: str) -> tuple[int, list[str]]:
        with pytest.raises(SystemExit) as caught:
            cli.main(list(arguments))
        _, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(caught.value.code or 0), [
            line for line in err.splitlines() if not line.startswith("compiling")
        ]

    return run


def only_line(call: Call, *arguments: str, code: int = 2) -> str:
    """The one line of an error with this exit code."""
    found, lines = call(*arguments)
    assert found == code and len(lines) == 1, (found, lines)
    assert lines[0].startswith("error: ") and "a bug" not in lines[0]
    return lines[0]


def _cut_gzip() -> bytes:
    whole = gzip.compress((HEADER + "".join(f"{i},{i % 89 + 1},3\n" for i in range(4000))).encode())
    return whole[: len(whole) // 2]


TRACES: list[tuple[str, bytes | str, list[str]]] = [
    ("empty.csv", "", ["is empty"]),
    ("header.csv", HEADER, ["line 1", "no rows"]),
    ("cut.csv.gz", _cut_gzip(), ["line 1", "damaged or cut short"]),
    ("column.csv", "arrived_at,num_prefill_tokens\n1,2\n", ["no column 'num_decode_tokens'"]),
    ("negative.csv", HEADER + "0,1,1\n1,-5,1\n", ["line 3", "'num_prefill_tokens'", "'-5'"]),
    ("nan.csv", HEADER + "0,1,1\n1,5,NaN\n", ["line 3", "'num_decode_tokens'", "'NaN'"]),
    ("inf.csv", HEADER + "inf,1,1\n", ["line 2", "'arrived_at'", "'inf'"]),
    ("zero.csv", HEADER + "0,0,1\n", ["line 2", "'num_prefill_tokens'", "'0'"]),
    ("back.csv", HEADER + "5,1,1\n1,1,1\n", ["line 3", "back in time", "sort"]),
    ("huge.csv", HEADER + f"0,{10**18},1\n", ["line 2", "'1000000000000000000'", "16777216"]),
    ("late.csv", HEADER + "0,1,1\n9300000,1,1\n", ["line 3", "99 days"]),
    ("utf16.csv", (HEADER + "0,1,1\n").encode("utf-16"), ["UTF-16", "UTF-8"]),
    ("latin.csv", HEADER.encode() + b"0,1,1\xe9\n", ["line 2", "not UTF-8"]),
    ("binary.csv", b"\x7fELF\0\0" * 50, ["not a text file"]),
    ("words.txt", "hello world\nno trace\n", ["no known format"]),
    ("cut.jsonl", '{"timestamp": 0, "input_length": 9, "output_length": 1, "hash_ids": [1]}\n{"t',
     ["line 2", "not JSON"]),
    ("fake.parquet", b"PAR1xxxxPAR1", ["not whole Parquet"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "words"), TRACES, ids=[row[0] for row in TRACES])
def test_bad_traces(call: Call, name: str, content: bytes | str, words: list[str]) -> None:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    for arguments in (
        ["traces", "validate", name],
        ["run", "plain.toml", "--set", f"workload.trace={name}"],
    ):
        line = only_line(call, *arguments)
        assert name in line and all(word in line for word in words), line


def test_a_trace_that_is_a_folder_or_missing(call: Call) -> None:
    Path("folder").mkdir()
    for name, words in (("folder", "directory"), ("nothing.csv", "no such file")):
        assert words in only_line(call, "traces", "validate", name)
        assert words in only_line(call, "run", "plain.toml", "--set", f"workload.trace={name}")


def test_requests_at_one_instant_are_fine(call: Call) -> None:
    Path("same.csv").write_text(HEADER + "1,10,10\n" * 3)
    assert call("run", "plain.toml", "--set", "workload.trace=same.csv")[0] == 0


# What is set in s.toml, and words that the line must have.
SETTINGS = [
    ("policy.route=leest_requests", "did you mean 'least_requests'"),
    ("policy.route={name=5}", "policy.route.name"),
    ("policy.route={name='prefix_affinity', ratoi=1}", "did you mean 'ratio'"),
    ("cluster.mixed.engine=vlm_v1", "did you mean 'vllm_v1'"),
    ("cluster.mixed.engine={name='vllm_v1', foo=1}", "cluster.mixed.engine.foo"),
    ("model.name=llama-3.1-71b", "did you mean 'llama-3.1-70b'"),
    ("model.quantisation=int3", "use one of"),
    ("cluster.mixed.gpu=h1000", "h100-sxm-80gb"),
    ("cluster.mixed.replcas=2", "did you mean 'replicas'"),
    ("model.name=deepseek-v3", "needs 631"),
    ("cluster.mixed.gpu_memory_utilization=0.01", "use more GPUs"),
    ("cluster.mixed.replicas=0", "no replicas"),
    ("cluster={}", "no replicas"),
    ("cluster.mixed.role=decode", "no pool does prefill"),
    ("cluster.mixed.role=prefill", "no pool does decode"),
    ("cluster.mixed.tp=3", "does not divide 32 heads"),
    ("cluster.mixed.tp=-1", "cluster.mixed.tp"),
    ("cluster.mixed.pp=40", "exceeds 32 layers"),
    ("cluster.mixed.initially_up=3", "more than its 2 replicas"),
    ("cluster.mixed.initially_up=0", "no policy starts one"),
    ("cluster.mixed.kv_blocks=1", "longer than the 16 KV tokens"),
    ("cluster.mixed.max_tokens=1", "below max_batch"),
    ("cluster.mixed.startup_s=1e300", "cluster.mixed.startup_s"),
    ("cluster.mixed.host_memory_gb=1e300", "cluster.mixed.host_memory_gb"),
    ("cluster.mixed.host_overhead_ms=1e300", "cluster.mixed.host_overhead_ms"),
    ("workload.rate=0", "greater than 0"),
    ("workload.rate=-1", "greater than 0"),
    ("workload.rate=nan", "finite"),
    ("workload.rate=inf", "finite"),
    ("workload.rate=1e-300", "workload.rate"),
    ("workload.rate_scale=2", "give one of them"),
    ("workload.concurrency=0", "workload.concurrency"),
    ("workload.concurrency=4", "no arrival rate"),
    ("workload.requests=0", "workload.requests"),
    ("workload.requests=1000000000000", "workload.requests"),
    ("workload.requests=2000000000", "workload.requests"),
    ("workload.timeout_s=1e300", "workload.timeout_s"),
    ("workload.think_s=1e300", "workload.think_s"),
    ("workload.window_s=[5, 1]", "not an interval"),
    ("workload.window_s=[1e9, 2e9]", "workload.window_s"),
    ("workload.tenants={zz=1}", "no tenant 'zz'"),
    ("workload.trace={requests=5}", "spec.arrivals"),
    ("control.failures=[{pool='mixed', index=9, at_s=1}]", "not one of the 2 replicas"),
    ("control.failures=[{pool='mxed', at_s=1}]", "did you mean 'mixed'"),
    ("control.failures=[{pool='mixed', at_s=-1}]", "control.failures.0.at_s"),
    ("control.failures=[{pool='mixed', at_s=1e30}]", "control.failures.0.at_s"),
    ("control.failures=[{pool='mixed', at_s=1}, {pool='mixed', index=1, at_s=1}]", "for good"),
    ("control.snapshot_s=1e30", "control.snapshot_s"),
    ("control.scale_interval_s=0", "control.scale_interval_s"),
    ("network.bandwidth_gbps=0", "network.bandwidth_gbps"),
    ("network.bandwidth_gbps=1e30", "network.bandwidth_gbps"),
    ("network.latency_us=1e300", "network.latency_us"),
    ("slo.ttft_ms=1e300", "slo.ttft_ms"),
    ("block_tokens=0", "block_tokens"),
    ("prefix_caching=true", "no prefix blocks"),
    ("system=toys", "system"),
    ("=5", "no assignment"),
]


@pytest.mark.parametrize(("setting", "words"), SETTINGS, ids=[row[0] for row in SETTINGS])
def test_bad_scenarios(call: Call, setting: str, words: str) -> None:
    assert words in only_line(call, "run", "s.toml", "--set", setting)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'system = "serving"\n[workload\n', "line 2"),
        (b"", "system"),
        (b'system = "serveing"\n', "unknown system 'serveing'"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_bad_scenario_files(call: Call, content: bytes, words: str) -> None:
    Path("bad.toml").write_bytes(content)
    line = only_line(call, "run", "bad.toml")
    assert "bad.toml" in line and words in line


ROUTE = '@policy("route")\ndef f(_request, replicas, hits, _ctx, _params, _memory):\n    """x."""\n'
KEY = '@policy("priority")\ndef f(_request, _tenants, _ctx, _params, _memory):\n    """x."""\n'
POLICIES = [
    ("def f(:\n", "route", 2, "not valid Python"),
    ("import nosuchmodule\n", "route", 2, "nosuchmodule"),
    ("raise RuntimeError('boom')\n", "route", 2, "boom"),
    ("def f(a): return 0\n", "route", 2, "put @policy('route')"),
    (ROUTE.replace("hits, ", "") + "    return 0\n", "route", 2, "takes exactly"),
    (ROUTE + "    return len(replicas) - 9\n", "route", 3, "replica -7"),
    (ROUTE + "    return None\n", "route", 2, "cannot compile"),
    (ROUTE + "    return replicas[0].nosuch\n", "route", 2, "no 'nosuch'"),
    (ROUTE + "    replicas[0].queued_tokens = 5\n    return 0\n", "route", 2, "writes to"),
    (ROUTE + "    hits[0] = 5\n    return 0\n", "route", 2, "writes to"),
    (ROUTE + "    return 1 // (len(replicas) - 2)\n", "route", 3, "ZeroDivisionError"),
    ("import math\n" + KEY + "    return math.nan\n", "priority", 3, "is NaN"),
    (KEY + "    return 0.0\n", "route", 2, "is for 'priority'"),
]


@pytest.mark.parametrize(("text", "hook", "code", "words"), POLICIES)
def test_bad_policies(call: Call, text: str, hook: str, code: int, words: str) -> None:
    needs = "@policy" in text and "import math" not in text
    start = "from mltwin.policies import policy\n" if needs else ""
    if "import math" in text:
        text = text.replace("import math\n", "import math\nfrom mltwin.policies import policy\n")
    Path("mine.py").write_text(start + text)
    assert words in only_line(call, "run", "s.toml", "--set", f"policy.{hook}=mine.py:f", code=code)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "s.toml", "--out", "afile"], "cannot write"),
        (["run", "s.toml", "--plot", "nowhere/x.png"], "cannot be written"),
        (["run", "s.toml", "--timeline", "nowhere/x.json.gz"], "cannot be written"),
        (["run", "s.toml", "--export-trace", "nowhere/x.parquet"], "cannot be written"),
        (["run", "s.toml", "--seed", "9" * 20], "seed"),
        (["run", "s.toml", "--goodput", "ttft:nan"], "--goodput"),
        (["run", "s.toml", "--goodput", "ttft:1e300"], "slo.ttft_ms"),
        (["scenario", "init", "nowhere/s.toml"], "cannot be written"),
        (["models", "show", "s.toml"], "not JSON"),
        (["gpus", "show", "s.toml"], "not JSON"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_wrong_words(call: Call, arguments: list[str], words: str) -> None:
    Path("afile").write_text("")
    assert words in only_line(call, *arguments)


@pytest.mark.parametrize("part", ["run.json", "requests.parquet", "replicas.parquet"])
@pytest.mark.parametrize("harm", ["cut", "gone", "flipped"])
def test_damaged_runs(call: Call, part: str, harm: str) -> None:
    assert call("run", "s.toml", "--out", "store")[0] == 0
    (whole,) = Path("store").iterdir()
    damaged = Path("other") / whole.name
    shutil.copytree(whole, damaged)
    content = (whole / part).read_bytes()
    if harm == "cut":
        (damaged / part).write_bytes(content[: len(content) // 2])
    elif harm == "gone":
        (damaged / part).unlink()
    else:
        middle = len(content) // 2
        flipped = struct.pack("B", content[middle] ^ 0x40)
        (damaged / part).write_bytes(content[:middle] + flipped + content[middle + 1 :])
    assert "other" in only_line(call, "compare", str(damaged), "s.toml")


def test_ticks_of_a_long_run_do_not_overflow() -> None:
    """Sums over requests and replicas pass 2**63 ticks (106 days) soon."""
    import numpy as np

    from mltwin.metrics import exact_sum

    values = np.full(4096, 5 * 10**18, np.int64)
    values[0] = -3
    assert exact_sum(values) == 4095 * 5 * 10**18 - 3
    assert not math.isclose(float(values.sum()), 4095 * 5e18)
