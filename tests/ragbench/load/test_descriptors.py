import resource

import pytest

from ragbench.files.toml_tables import StudyError
from ragbench.load import descriptors
from ragbench.load.descriptors import allow_files, needed
from ragbench.study.points import expand
from ragbench.study.study_file import parse_study


def point(**load):
    tables = {"load": {"arrivals": ["ideal"], "duration_s": 100.0} | load, "designs": {"a": {"command": "x"}}}
    return expand(parse_study(tables, default_name="s"))[0].points[0]


@pytest.mark.parametrize(
    ("load", "at_once"),
    [
        ({"rates": [50], "timeout_s": 10.0}, 500),
        ({"rates": [50], "duration_s": 2.0, "timeout_s": 10.0}, 100),
        ({"rates": [50], "timeout_s": 10.0, "processes": 3}, 167),
        ({"concurrency": [40]}, 40),
        ({"concurrency": [40], "processes": 4}, 10),
    ],
)
def test_as_many_as_come_due_within_one_timeout(load, at_once):
    assert needed(point(**load)) - needed(point(concurrency=[1])) == at_once - 1


@pytest.fixture
def limits(monkeypatch):
    """Set the limits that the process seems to have. -> what it then asked for"""
    asked = []

    def limit(soft, hard):
        monkeypatch.setattr(descriptors.resource, "getrlimit", lambda which: (soft, hard))
        monkeypatch.setattr(descriptors.resource, "setrlimit", lambda which, wanted: asked.append(wanted))
        return asked

    return limit


def test_a_client_that_would_run_short_says_so_before_anything_starts(limits):
    asked = limits(256, 1024)
    few, many = point(rates=[5], timeout_s=10.0), point(rates=[200], timeout_s=10.0)
    with pytest.raises(StudyError) as told:
        allow_files([few, many])
    (line,) = told.value.mistakes
    assert line.startswith("a-ideal-200rps-seed1 may need 2128 open files in each client process, and 1024 are allowed")
    assert "`sudo prlimit --pid $$ --nofile=2128:2128`, use processes = 4, or shorten timeout_s" in line
    assert asked == []
    assert needed(point(rates=[200], timeout_s=10.0, processes=4)) < 1024


def test_the_limit_is_raised_as_far_as_needed_or_allowed(limits):
    asked = limits(256, 4096)
    allow_files([point(rates=[5])])
    assert asked == [(4096, 4096)]
    asked = limits(256, 1_000_000)
    allow_files([point(rates=[5])])
    allow_files([point(rates=[2000], timeout_s=50.0)])
    assert asked[1:] == [(65_536, 1_000_000), (100_128, 1_000_000)]
    limits(resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    allow_files([point(rates=[2000], timeout_s=50.0)])
    assert len(asked) == 3
