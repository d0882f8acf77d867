# The two commands of the README, `make run` and `make test`, and the rest of a working day.
# Each target builds .venv from constraints.txt first when it is missing or out of date.

VENV := .venv
PY := $(VENV)/bin/python
BUILT := $(VENV)/.built
WORKERS ?= 2
PYTHONS ?= python3.11 python3.12 python3.13
# One thread a process: several tests run at a time, and threads that wait for each other spin.
PYTEST = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(PY) -m pytest -q -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

.DEFAULT_GOAL := help
.PHONY: help run app check test test-slow lint format docs gallery bench bench-studio bench-caching \
        bench-network bench-federated bench-env fidelity validate-local warmup venv lock clean

help: ## say what the targets do
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: $(BUILT) ## run the main comparison
	@$(PY) -m mltwin run

app: $(BUILT) ## open the explorer in a browser
	@$(PY) -m mltwin app

test: $(BUILT) ## lint, types and the fast tests (MLTWIN_DATA=folder adds the measured data)
	@status=0; \
	$(MAKE) --no-print-directory lint || status=1; \
	$(PYTEST) -m "not slow" || status=1; \
	exit $$status

test-slow: $(BUILT) ## the long agreement and statistics suites
	@$(PYTEST) -m slow

check: $(BUILT) ## hold the built-in policies against their committed baselines
	@$(PY) -m mltwin check baselines

docs: $(BUILT) ## build the documentation site into build/site
	@$(PY) -m mkdocs build --strict --site-dir build/site

gallery: $(BUILT) ## run the studies in full and write their pages (MLTWIN_DATA names the data)
	@$(PY) tools/gallery.py

lint: $(BUILT) ## ruff and mypy, changing nothing
	@status=0; \
	$(PY) -m ruff check . || status=1; \
	$(PY) -m ruff format --check . || status=1; \
	$(PY) tools/typecheck.py || status=1; \
	exit $$status

format: $(BUILT) ## let ruff mend what it can
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench: $(BUILT) ## measure speed and memory against the bars (wants a quiet machine, 5 minutes)
	@$(PY) -m benchmarks.serving --out benchmarks/results/serving.json

bench-studio: $(BUILT) ## measure sweeps, gate and explorer against the bars (wants a quiet machine)
	@$(PY) -m benchmarks.studio --out benchmarks/results/studio.json

bench-env: ## install the peers that benchmarks compare with, into an environment of their own
	@python3 -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --only-binary :all: libcachesim==0.3.5 \
	  "flwr[simulation]==1.41.0" torch==2.13.0
	@if echo '#include <simgrid/s4u.hpp>' | g++ -std=c++17 -E -x c++ - >/dev/null 2>&1; then \
	  g++ -O2 -std=c++17 benchmarks/simgrid/flows.cpp -o .venv-bench/bin/simgrid-flows -lsimgrid; \
	else \
	  echo "without SimGrid: install g++ and libsimgrid-dev (Debian), then make bench-env again"; \
	fi
	@echo "peers are in .venv-bench; MLTWIN_BENCH_ENV names another place"

bench-caching: $(BUILT) ## measure caches against the bars, beside libCacheSim (make bench-env)
	@$(PY) -m benchmarks.caching --out benchmarks/results/caching.json

bench-network: $(BUILT) ## measure networks and training against the bars, beside SimGrid (make bench-env)
	@$(PY) -m benchmarks.network --out benchmarks/results/network.json

bench-federated: $(BUILT) ## measure federations against the bars, beside Flower and PyTorch (make bench-env)
	@$(PY) -m benchmarks.federated --out benchmarks/results/federated.json

fidelity: $(BUILT) ## how far the twin is from what MLTWIN_DATA holds, against the bars (10 minutes)
	@$(PY) -m benchmarks.fidelity --out benchmarks/results/fidelity.json

validate-local: $(BUILT) ## predict a real engine on this machine, then run it (wants it quiet)
	@$(PY) -m mltwin validate local --seed 1 --out results/validate-local

warmup: $(BUILT) ## compile the kernels into the cache
	@$(PY) tools/warmup.py

venv: $(BUILT) ## only build .venv

lock: $(BUILT) ## resolve constraints.txt anew
	@$(PY) tools/lock.py $(PYTHONS)

clean: ## remove what make made (not the user's results)
	rm -rf $(VENV) .typing build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BUILT): constraints.txt pyproject.toml tools/venv.sh
	@sh tools/venv.sh $(VENV)
	@touch $@
