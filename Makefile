# Everything runs in .venv, made on the first call from constraints.txt.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install test check format demo demo-draw demo-photos bench golden soak clean

install: $(STAMP)

# torch goes first, pinned: a bare torch would bring gigabytes of CUDA libraries to a laptop.
$(STAMP): pyproject.toml constraints.txt
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,ray]"
	touch $(STAMP)

test: check
	$(RUN)/python -m pytest -n auto --dist worksteal -m "not slow"

check: $(STAMP)
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy

format: $(STAMP)
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

# A short ReReFL on the toon checkpoint: the same scenes before and after, and the report.
demo: $(STAMP)
	$(RUN)/python examples/06_follow_a_reward.py demo-out

# Draws toons that the checkpoint never saw, scores them, writes the report.
demo-draw: $(STAMP)
	$(RUN)/python examples/02_draw_toons.py demo-out

# Scores pictures made of real photographs.
demo-photos: $(STAMP)
	$(RUN)/python examples/01_demo_photos.py demo-out

bench: $(STAMP)
	for script in embed_faces matching_rewards score_pictures render_toons; do $(RUN)/python benchmarks/$$script.py || exit 1; done

# The golden values alone: published numbers and sums by hand.
golden: $(STAMP)
	$(RUN)/python -m pytest tests/golden -q -n 0

# The long tests that `make test` leaves out.
soak: $(STAMP)
	HYPOTHESIS_PROFILE=soak $(RUN)/python -m pytest -n auto tests/metrics tests/subjects
	$(RUN)/python -m pytest -m slow -n 0

clean:
	rm -rf $(VENV) demo-out
