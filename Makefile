# Everything starts here. `make` alone lists the targets.
# Set-up needs nothing but a Python 3.11 to 3.14; name one with `make PYTHON=/path/to/python ...`.

PYTHON ?=
CONSTRAINTS ?=
CHAPTERS ?=
NAME ?=
PORT ?= 8000

# Other versions than pip would choose live in an environment of their own.
VENV := .venv$(if $(CONSTRAINTS),-constrained)
BIN := $(VENV)/bin
TOOLS := book/_tools
# One thread: the networks are small, and sums in one order give the same digits everywhere.
export OMP_NUM_THREADS := 1
# Progress bars are for people who wait, not for stored outputs.
export NLMETA_PROGRESS := 0
# $(call prepare,EXTRAS): make the virtual environment; a finished set-up is skipped.
prepare = python=$$(sh $(TOOLS)/find_python.sh $(PYTHON)) && \
	"$$python" $(TOOLS)/prepare.py $(1) --environment $(VENV) --constraints "$(CONSTRAINTS)"

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help book test test-all lint links execute record test-gpu serve address clean

help:  ## list the targets
	@echo "make book       set up, run every chapter and build the book"
	@echo "make test       set up, test the package, the pages and every chapter by itself;"
	@echo "                CONSTRAINTS=\"torch==2.11.*\" for other versions, without the chapters"
	@echo "make test-all   the same, and what takes longer: each assignment in stock nbgrader"
	@echo "make lint       check style (ruff) and types (mypy)"
	@echo "make execute    run chapters and store their outputs; CHAPTERS=\"noise mlc\" for some"
	@echo "make record     run what the record of an experiment lacks: NAME=digits (an hour at most);"
	@echo "                without NAME: list the experiments, and how far each is"
	@echo "make test-gpu   run the tests that need a CUDA device"
	@echo "make links      follow every link of the book"
	@echo "make serve      show the built book on http://127.0.0.1:$(PORT) (PORT=...)"
	@echo "make address    write the repository's address into badges, set-up cells and package:"
	@echo "                URL=https://github.com/OWNER/NAME, pinned to a tag or a branch by REF=..."
	@echo "make clean      remove what builds and tests leave behind (keeps .venv)"

book:
	@$(call prepare,book)
	$(BIN)/python $(TOOLS)/make_book.py
	@echo "Every chapter ran and the book is built. Open _build/html/index.html"

test:
	@$(call prepare,book test)
	@echo "Tests 1/2: the package, the repository, the builds and the pages"
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=10
ifeq ($(CONSTRAINTS),)
	@echo "Tests 2/2: each chapter alone in an empty directory, outputs compared with the stored ones"
	$(BIN)/python $(TOOLS)/alone.py
	@echo "All passed: the tests of the package and the pages, and every chapter by itself."
else
	@echo "All passed with $(CONSTRAINTS). Chapters were not run: their outputs are the newest's."
endif

# The tests read the variable; it is in the environment of all that `test` starts.
test-all: export NLMETA_TEST_ALL := 1
test-all: test

lint:
	@$(call prepare,lint)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@echo "All passed: style and types."

links:
	@$(call prepare,book)
	rm -rf _build/links
	mkdir -p _build/links
	sed 's/execute_notebooks: .*/execute_notebooks: "off"/' _config.yml > _build/links/config.yml
	PYTHONPATH=book/_ext $(BIN)/jupyter-book build . --config _build/links/config.yml --builder linkcheck \
		--path-output _build/links

execute:
	@$(call prepare,book)
	$(BIN)/python $(TOOLS)/execute.py $(CHAPTERS)

record:
	@$(call prepare,book)
	NLMETA_PROGRESS=1 $(BIN)/python -m nlmeta $(if $(NAME),run $(NAME),list)

test-gpu:
	@$(call prepare,book test)
	NLMETA_REQUIRE_GPU=1 $(BIN)/python -m pytest -m gpu
	@echo "All passed: the tests that need a CUDA device."

serve:
	@test -e _build/html/index.html || \
		{ echo "There is no book yet: run 'make book' first." >&2; exit 1; }
	@echo "Open http://127.0.0.1:$(PORT) (stop with Ctrl-C)"
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

# The shell reads URL and REF from the environment, where `make` puts what its command line says.
address:
	@python=$$(sh $(TOOLS)/find_python.sh $(PYTHON)) && \
		"$$python" $(TOOLS)/address.py $${URL+"$$URL"} $${REF+--ref="$$REF"}

clean:
	rm -rf _build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find book nlmeta tests -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
