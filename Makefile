# One word per habit; `make help` prints them, with the first sentence above each. PYTHON chooses the interpreter, VENV where its environment lies, N how
# many processes share the tests (0: none but pytest's own).
PYTHON ?= python3
VENV ?= .venv
N ?= 4
COVER ?= 1
CALLS ?= $(if $(filter soak,$(MAKECMDGOALS)),60,1000)
ENDS ?= 500
MINUTES ?= 30
FUZZ ?= 600
CLUSTER ?= .venv-cluster
BIN := $(VENV)/bin
STAMP := $(VENV)/.built
CLUSTER_STAMP := $(CLUSTER)/.built

.PHONY: help venv demo test pytest long again attacks churn truth recordings rolling test-cluster \
  check-tls dockerfile soak fuzz autobahn asgi browser lint types typed bench capacity hearing \
  docs wheel try-wheel lowest versions release-notes \
  clean

# This list.
help:
	@awk '/^# / {text = text " " substr($$0, 3); next} \
	  /^[a-z-]+:/ && text {sub(/:.*/, ""); sub(/\. .*/, "", text); sub(/\.$$/, "", text); \
	    printf "%-14s%s\n", $$0, text} {text = ""}' $(firstword $(MAKEFILE_LIST))

# The environment in which all else runs.
venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt hatch_build.py codecs/telephony_codecs/_compand.c
	@echo "building $(VENV) (about a minute the first time)"
	@$(PYTHON) -m venv $(VENV)
	@PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
	  $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(STAMP)

# Six calls over loopback, one in each codec, then commands and webhooks.
demo: venv
	@$(BIN)/mediaserver demo

# What must hold before a change lands: linter, type checker and the tests but for the long ones.
test: lint types pytest

# The tests alone; ARGS=tests/media for some. loadgroup: what shares something costly stays in one process (xdist_group),
# and the largest groups begin first. COVER=0: without coverage, which costs a third more time.
# Of a whole run it is also known what each pure module's own tests cover of it.
pytest: venv
ifeq ($(COVER),0)
	$(BIN)/python -m pytest -n $(N) --dist loadgroup $(or $(ARGS),-m "not long")
else
	$(BIN)/python -m pytest --cov --cov-context=test --cov-report=term -n $(N) --dist loadgroup \
	  $(or $(ARGS),-m "not long")
	$(if $(ARGS),,$(BIN)/python tests/own_coverage.py)
endif

# The tests marked as long: each takes seconds of real time, or a core for itself. Fuzzers,
# soak, crimes, speech, each benchmark at its smallest.
long: venv
	$(BIN)/python -m pytest -n $(N) --dist loadgroup -m long

# What failed in the last run, alone: was it the machine's load?
again: venv
	@$(BIN)/python tests/last_failed.py
	$(BIN)/python -m pytest -n 0 --last-failed --last-failed-no-failures none

# CALLS calls opened, lost, taken over and ended at random; nothing may stay behind. In one
# process, then in two workers, then isolated. `make pytest` runs 100 or 60 of each. Then ENDS phone calls, ended in every way there is.
churn: venv
	CHURN=$(CALLS) $(BIN)/python -m pytest -q -s --show-capture=no tests/server/test_churn.py \
	  tests/server/isolation/test_isolated_churn.py
	ENDS=$(ENDS) $(BIN)/python -m pytest -q --show-capture=no tests/app/test_all_ends.py

# The metrics against what the fake Telnyx knows it sent. 200 mixed calls over two workers, one of
# which is killed. `make long` places 24.
truth: venv
	TRUTH=200 $(BIN)/python -m pytest -q --show-capture=no tests/monitor/test_truth.py

# Recordings against what the fake Telnyx's caller heard and said. 200 random calls.
# `make pytest` places 8.
recordings: venv
	RECORDINGS=200 $(BIN)/python -m pytest -q -s --show-capture=no tests/processors/builtin/recording/test_ear.py

# A server makes way for the next one, by reload and by drain. Under 50 calls, of which 10
# reconnect, and 5 new ones a second. `make pytest` runs some of it with 6 calls.
rolling: venv
	ROLLING=50 $(BIN)/python -m pytest -q -n 0 tests/app/test_rolling.py tests/app/test_systemd.py

# Three nodes of a cluster on this machine, on Ray: what dies, and what becomes of the calls.
# In an environment of its own, .venv-cluster, because Ray is large. ARGS="-k killed" for some.
test-cluster: $(CLUSTER_STAMP)
	$(CLUSTER)/bin/python -m pytest -q -s -p no:cacheprovider $(ARGS) tests/cluster/test_nodes.py

$(CLUSTER_STAMP): pyproject.toml constraints.txt
	@echo "building $(CLUSTER) (about a minute the first time)"
	@$(PYTHON) -m venv $(CLUSTER)
	@PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
	  $(CLUSTER)/bin/python -m pip install --quiet --editable '.[cluster]' pytest pytest-asyncio pytest-timeout
	@touch $(CLUSTER_STAMP)

# What a scanner says about the server's TLS; needs Debian's testssl.sh, and some minutes.
check-tls: venv
	$(BIN)/python -m tools.check_tls

# The steps of deploy/Dockerfile, run here where no builder of containers is; needs Debian, root.
dockerfile:
	$(PYTHON) -m tools.try_dockerfile

# MINUTES of CALLS calls at once: does the memory grow? They are of all codecs and end in every
# way. TRACE=8 names the lines that grow. `make long` runs half a minute of it.
soak: venv
	$(BIN)/python -m tests.attacks.soak --minutes $(MINUTES) --calls $(CALLS) \
	  --trace $(or $(TRACE),0)

# FUZZ seconds of made-up input for each parser. Two at a time; what is found is kept in .fuzz/
# for the next run.
# ARGS="-k amrwb_framing" for one. `make long` gives each two seconds, CI twenty.
fuzz: venv
	FUZZ_SECONDS=$(FUZZ) FUZZ_SEED=$(or $(SEED),0) FUZZ_KEEP=.fuzz \
	  $(BIN)/python -m pytest -q -n 2 $(ARGS) tests/fuzz/test_fuzz.py

# The Autobahn suite against the WebSocket layer; needs a Python 2.7. PYTHON2 is a Python 2.7, if it is not found.
autobahn: venv
	$(BIN)/python -m tests.attacks.autobahn $(if $(PYTHON2),--python2 $(PYTHON2))

# The tests of sessions, plays, processors and webhooks against the ASGI mount, under both hosts.
asgi: venv
	SERVED_BY=uvicorn $(BIN)/python -m pytest -q -n $(N) --dist loadgroup tests/server/calls tests/control
	SERVED_BY=hypercorn $(BIN)/python -m pytest -q -n $(N) --dist loadgroup tests/server/calls tests/control

# The live page in a real browser: Debian's chromium, driven by Playwright. ARGS="-s" prints how
# far behind a listener is.
browser: venv
	BROWSER=1 $(BIN)/python -m pytest -q -n 0 $(ARGS) tests/browser

# Attacks in full size, with 30 good calls beside; prints figures.
# `make pytest` runs small ones.
attacks: venv
	ATTACKS=full $(BIN)/python -m pytest -q -s -n 0 tests/attacks

# The linter and the formatter's check.
lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The type checker, strict.
types: venv
	$(BIN)/mypy
	$(BIN)/mypy tools

# Speech detection and barge-in against labels, and what they cost; about a quarter of an hour.
# The speech is in the Debian packages pocketsphinx-testdata and asterisk-core-sounds-en-wav.
hearing: venv
	$(BIN)/python benchmarks/vad.py --check
	$(BIN)/python benchmarks/hearing.py --check
	$(BIN)/python benchmarks/barge_in.py --check --curve

# How much of the types that we offer a user's type checker knows. Needs node.
typed: venv
	$(BIN)/python -m tests.docs.test_typed

# What CPU a frame costs, beside two other servers.
bench: venv
	$(BIN)/python benchmarks/frame_cost.py

# How many calls, beside other servers, and what each feature costs. About an hour, on a machine
# that does nothing else; writes the tables of docs/performance.md.
capacity: venv
	$(BIN)/python benchmarks/compare.py --markdown docs/performance.md
	$(BIN)/python benchmarks/capacity.py --markdown docs/performance.md

# Writes what the pages in docs/ take from the code.
docs: venv
	$(BIN)/python -m tools.generate_docs

# Builds the wheel, in dist.
wheel: venv
	@rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# Runs the wheel as users get it, in a fresh environment with the newest of everything. The
# commands are run, and the demo.
try-wheel: wheel
	$(PYTHON) tools/try_wheel.py install .venv-newest
	$(PYTHON) tools/try_wheel.py run .venv-newest

# The same with the lowest versions allowed. On Python 3.11: newer ones have no wheels of them.
lowest: wheel
	$(PYTHON) tools/try_wheel.py install .venv-lowest --lowest
	$(PYTHON) tools/try_wheel.py run .venv-lowest
	$(PYTHON) tools/try_wheel.py test .venv-lowest

# What is used of uvicorn, websockets, starlette and PyAV, with several versions of each. Prints
# the rows of docs/versions.md, in about ten minutes. And whether a newer Python has all wheels.
versions: wheel
	$(PYTHON) tools/try_wheel.py install .venv-versions
	$(PYTHON) tools/try_wheel.py versions .venv-versions
	$(PYTHON) tools/try_wheel.py resolve 3.14

# Gathers changes/ into CHANGELOG.md.
release-notes: venv
	$(BIN)/python tools/release_notes.py

# Removes the environment and all caches.
clean:
	rm -rf $(VENV) .autobahn .fuzz .peers .mypy_cache .ruff_cache .pytest_cache .hypothesis
