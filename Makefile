.PHONY: setup check format house test test-all accuracy smoke sweep chaos attack vllm clean
RUN := scripts/setup.sh
PYTEST := $(RUN) python -m pytest
TOGETHER := -n logical --maxprocesses 4 --dist loadfile

setup:    ; $(RUN)
check:    ; $(RUN) ruff format --check . && $(RUN) ruff check . && $(RUN) mypy && $(RUN) lint-imports
format:   ; $(RUN) ruff check -q --fix . && $(RUN) ruff format .
house:    ; $(RUN) python scripts/house.py
test:     ; $(PYTEST) $(TOGETHER) -m "not slow and not timing"
test-all: ; $(PYTEST) $(TOGETHER) -m "not timing" && $(PYTEST) -m timing
accuracy: ; $(RUN) python -m servers.rag.tiny.evaluate
smoke:    ; ./run_all.sh smoke
sweep:    ; ./run_all.sh sweep
chaos:    ; $(RUN) python -m ragbench chaos
attack:   ; $(PYTEST) -q -m attack -p tests.attacks --durations=0 --durations-min=60 tests
vllm:     ; scripts/vllm.sh python -m ragbench run vllm
clean:    ; git clean -fdX results
