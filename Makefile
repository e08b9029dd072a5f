.PHONY: setup check format house test accuracy smoke sweep chaos attack vllm clean
RUN := scripts/setup.sh

setup:    ; $(RUN)
check:    ; $(RUN) ruff format --check . && $(RUN) ruff check . && $(RUN) mypy && $(RUN) lint-imports
format:   ; $(RUN) ruff check -q --fix . && $(RUN) ruff format .
house:    ; $(RUN) python scripts/house.py
test:     ; $(RUN) python -m pytest
accuracy: ; $(RUN) python -m servers.rag.tiny.evaluate
smoke:    ; ./run_all.sh smoke
sweep:    ; ./run_all.sh sweep
chaos:    ; $(RUN) python -m ragbench chaos
attack:   ; $(RUN) python -m pytest -q -m attack -p tests.attacks --durations=0 --durations-min=60 tests
vllm:     ; scripts/vllm.sh python -m ragbench run vllm
clean:    ; git clean -fdX results
