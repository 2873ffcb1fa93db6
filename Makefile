# Two commands matter: `make demo` and `make test`. Each makes .venv if it is missing.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# Hundreds of processes start in the tests; without bytecode each would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test test-fast test-failure test-swift test-oldest-ray audit check check-static docs format clean

install: $(INSTALLED)

# torch comes first and pinned: a plain `torch` would pull gigabytes of CUDA packages.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/latentcache demo build/demo

# Much of the tests is waiting, so two files at a time; WORKERS=0 runs all in one process. Files
# keep their order, which is that of tests/conftest.py: slow ones first.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
FAST := 'not ray and not s3 and not slow and not gpu'

test: $(INSTALLED)
	$(PYTEST)

test-fast: $(INSTALLED)
	$(PYTEST) -m $(FAST)

# Runs are killed at every storage operation and at random, then on Ray and into a failing bucket;
# KILLS=200 counts them, KILLS=900s is a limit of time, KILLS_SEED=2 draws others, REMOTE_KILLS is
# for the second part. See docs/failure.md.
KILLS ?= 600s
REMOTE_KILLS ?= 600s
KILLS_SEED ?= 1
test-failure: $(INSTALLED)
	$(BIN)/python -m tests.failure.kills $(KILLS) $(KILLS_SEED)
	$(BIN)/python -m tests.failure.remote_kills $(REMOTE_KILLS) $(KILLS_SEED)

# The tests of S3 against OpenStack Swift: SWIFT_BIN=FOLDER/bin, see infra/object_stores/swift.sh.
test-swift: $(INSTALLED)
	S3_SERVER=swift $(BIN)/python -m pytest -m s3 tests/storage tests/store tests/infra/test_swift.py

# The oldest Ray we support, over the packages of .venv: the main job and the kill tests.
OLDEST_RAY ?= 2.52.1
test-oldest-ray: $(INSTALLED)
	$(PYTHON) -m venv build/oldest-ray
	build/oldest-ray/bin/pip install --quiet --no-deps ray==$(OLDEST_RAY)
	$(BIN)/python -c 'import site; print(site.getsitepackages()[0]); print("$(CURDIR)")' \
	  > "$$(echo build/oldest-ray/lib/python3*/site-packages)/of_venv.pth"
	build/oldest-ray/bin/python -m pytest -W ignore::ResourceWarning \
	  -W ignore::pytest.PytestUnraisableExceptionWarning \
	  tests/runner/test_faults_on_ray.py tests/runner/test_clips.py tests/runner/test_kill.py \
	  tests/runner/test_long_clips.py

# Known advisories of what is installed, by PyPI's list; fails where there is one, or no list.
audit: $(INSTALLED)
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet pip-audit==2.9.0
	build/audit/bin/pip-audit --strict --progress-spinner off \
	  --path "$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')"

# Format, lint, types, layers, then the fast tests and the documentation's own checks.
check: check-static test-fast

check-static: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The pages and the reference made of docstrings, in build/site; a warning is an error.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/site

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis
