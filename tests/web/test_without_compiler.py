"""Expert and web caches do the same without the compiler: plain Python runs the kernels' text."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import hashlib, sys
sys.path[:0] = sys.argv[1:]
from expert_cases import random_plan
from web_cases import random_cdn, random_friends
from mltwin.experts import ExpertScenario
from mltwin.experts_run import lower
from mltwin.models.experts import run_plan
from mltwin.models.web import run_cdn, run_friends
from mltwin.web import WebScenario
from mltwin.web_run import lower_friends

made = hashlib.sha256()
for seed in range(8):
    pairs = ((run_plan, random_plan), (run_friends, random_friends), (run_cdn, random_cdn))
    for run, make in pairs:
        made.update(repr(run(make(seed), log=True).log).encode())
experts = ExpertScenario().changed(
    {"routing.steps": 3, "routing.batch": 4, "micro_batches": 2, "regroup": True,
     "predictor.kind": "given"}
)
plan = lower(experts, 1).plan
friends = WebScenario().changed({"graph.users": 30, "activity.objects": 10})
views, _ = lower_friends(friends, 1)
for column in (plan.entry_key, plan.pred_key, views.view_time, views.friend_pair):
    made.update(column.tobytes())
print(made.hexdigest())
"""


def digest(**environment: str) -> str:
    tests = Path(__file__).resolve().parent.parent
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tests / "experts"), str(tests / "web")],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip()


def test_the_same_without_the_compiler() -> None:
    compiled = digest()
    assert len(compiled) == len(hashlib.sha256().hexdigest())
    assert digest(NUMBA_DISABLE_JIT="1") == compiled
