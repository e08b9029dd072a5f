"""tests/needs.py: a missing program skips a test, and fails it where continuous integration promised the program."""

import pytest

from tests.needs import need

SKIPPED, FAILED = pytest.skip.Exception, pytest.fail.Exception


def test_need_passes_where_the_program_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    need("sh")


def test_need_skips_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SKIPPED, match="needs srun on PATH"):
        need("srun")


def test_need_fails_for_a_program_that_ci_installs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FAILED, match=r"wanted srun on PATH, which \.ci/run should have installed"):
        need("srun")


def test_need_skips_for_a_program_that_ci_does_not_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(SKIPPED, match="needs no-such-program"):
        need("no-such-program")
