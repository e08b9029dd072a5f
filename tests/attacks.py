"""What `make attack` prints last: of each kind of attack, how many were tried and how many held. Attacks nothing.

A test marked `attack` is one try, or as many as it records: `record_property("attacks", 335)`.
"""

from collections import Counter
from pathlib import Path

import pytest

_TRIED, _HELD = pytest.StashKey[Counter[str]](), pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin to count."""
    config.stash[_TRIED], config.stash[_HELD] = Counter(), Counter()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    """Count a test that was run: all its tries held, or it is not known which did."""
    outcome = yield
    report = outcome.get_result()
    if report.when != "call" or report.skipped or item.get_closest_marker("attack") is None:
        return
    tries = sum(int(value) for name, value in item.user_properties if name == "attacks") or 1
    kind = Path(item.path).stem.removeprefix("test_").replace("_", " ")
    item.config.stash[_TRIED][kind] += tries
    item.config.stash[_HELD][kind] += tries if report.passed else 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A line a kind, and one for all."""
    tried, held = config.stash[_TRIED], config.stash[_HELD]
    for kind in sorted(tried):
        terminalreporter.write_line(f"{kind}: {tried[kind]} tried, {held[kind]} held")
    terminalreporter.write_line(f"attacks: {tried.total()} tried, {held.total()} held")
