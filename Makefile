# patchlight: set up, try, test. `make` lists the targets.

# The Pythons to try; `make PYTHON=/path/to/python3.12 install` names one.
PYTHON =
PYTHONS = $(or $(PYTHON),python3 python3.12 python3.11 python3.13 python3.14)
BIN = .venv/bin

# What `make demo` reads and writes. The database and the results lie in a folder of their own for
# each DOCS (see .make/demo.sh), unless DB or OUT name another place.
DOCS = examples/documents
QUERIES = examples/questions.jsonl
DB =
OUT =
export DOCS QUERIES DB OUT

# Written when an installation has succeeded; newer pyproject.toml or requirements.lock void them.
BASE = .venv/.installed-base
FULL = .venv/.installed-full
# An environment survives neither a move of the project, whose path they hold, nor the loss of its
# Python.
LOST := $(shell [ -x $(BIN)/python ] && [ "$$(cat $(BASE) 2>&1)" = "$$(pwd -P)" ] || echo lost)

BOOTSTRAP = for p in $(PYTHONS); do \
	  if "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; \
	  then exec "$$p" .make/bootstrap.py

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r t h; \
	do printf '  make %-14s%s\n' "$$t" "$$h"; done

.PHONY: install-base
install-base: $(BASE) ## install what ingest and query need, with the embedded encoder

.PHONY: install
install: $(FULL) ## install everything: also the vision encoders (torch) and the test tools

.PHONY: demo
demo: $(BASE) ## answer the example questions; yours: make demo DOCS=folder QUERIES=file
	@sh .make/demo.sh

.PHONY: test
test: install check ## install everything, then run all checks

.PHONY: check
check: $(FULL) ## run all checks: lint, format, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

# What `make explore` runs. A single test may take an hour.
WHERE = tests/property

.PHONY: explore
explore: $(FULL) ## try the property tests on new random inputs; one file: make explore WHERE=file
	HYPOTHESIS_PROFILE=explore $(BIN)/pytest --timeout=3600 $(WHERE)

.PHONY: lock
lock: $(FULL) ## rewrite requirements.lock; newer versions: make lock UPGRADE=--upgrade
	$(BIN)/uv pip compile --quiet --no-config --universal --generate-hashes --python-version 3.11 \
	  --all-extras --overrides .make/unused.txt --custom-compile-command "make lock" $(UPGRADE) \
	  pyproject.toml --output-file requirements.lock

.PHONY: clean
clean: ## remove .venv, caches and what demo wrote
	rm -rf .venv .bootstrap .mypy_cache .ruff_cache .pytest_cache .hypothesis demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: lost
# Kept when interrupted: the set-up has voided the stamp, but it still tells what was installed.
.PRECIOUS: $(BASE) $(FULL)
$(BASE) $(FULL): pyproject.toml requirements.lock $(LOST)

$(BASE):
	@$(BOOTSTRAP) base; fi; done; $(NO_PYTHON)

$(FULL):
	@$(BOOTSTRAP) full; fi; done; $(NO_PYTHON)

NO_PYTHON = echo "error: none of '$(PYTHONS)' is Python 3.11 to 3.14; install one," \
	"or name it: make PYTHON=/path/to/python3.12" >&2; exit 1
