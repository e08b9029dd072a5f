import tomllib

import pytest

from ragbench.files.toml_tables import StudyError
from ragbench.results.paths import SHIPPED_STUDIES
from ragbench.study.points import expand
from ragbench.study.study_file import find_study, load_study, parse_study

GOOD = """
[study]
title = "t"
seeds = [1, 2]
[workload]
k = 3
[load]
arrivals = ["ideal"]
rates = [20, 60.5]
duration_s = 3
[designs.a]
command = "python -m servers batched"
settings = { max_batch_size = [8, 32], max_wait_s = 0.05, routing = "round_robin", flag = true }
[designs.b]
url = "http://127.0.0.1:8000"
[designs.b.load]
rates = [5]
requests = 7
"""
ONE_DESIGN = "[designs.a]\ncommand = 'x'\n"


def parse(text):
    return parse_study(tomllib.loads(text), default_name="name")


def mistakes(text):
    with pytest.raises(StudyError) as caught:
        parse(text)
    return caught.value.mistakes


def test_a_good_study():
    study = parse(GOOD)
    assert (study.name, study.title, study.seeds, study.workload.k) == ("name", "t", (1, 2), 3)
    a, b = study.designs.values()
    assert a.settings == {
        "max_batch_size": (8, 32),
        "max_wait_s": (0.05,),
        "routing": ("round_robin",),
        "flag": (True,),
    }
    assert (a.load.rates, a.load.duration_s, a.load.requests) == ((20.0, 60.5), 3.0, None)
    assert (b.load.rates, b.load.duration_s, b.load.requests) == ((5.0,), None, 7)


def test_every_mistake_is_told_at_once():
    found = mistakes(
        """
        extra = 1
        [study]
        seeds = [1, 1, -1, "x"]
        titel = "t"
        [workload]
        k = 0
        questions = "nothing"
        [load]
        arrivals = ["ideal", "weekly"]
        rates = [0, 5, "fast"]
        duration_s = 1.0
        requests = 5
        timeout_s = true
        warmup_requests = 0
        [designs."a b"]
        command = "x"
        url = "y"
        settings = { port = 1, Size = 2, empty = [], nested = [[1]] }
        [designs.c]
        commnd = "x"
        [designs.d]
        command = 5
        [designs.d.load]
        rates = []
        """
    )
    wanted = [
        "the file has an unknown key 'extra'; valid: study, workload, load, designs",
        "[study] has an unknown key 'titel'; did you mean title? valid: name, title, seeds, slo",
        "[study] seeds: each must be a whole number, got 'x'",
        "[study] seeds: 1 is there twice",
        "[study] seeds must be >= 0, got -1",
        "[workload] k must be >= 1, got 0",
        "[load] rates: each must be a number, got 'fast'",
        "[load] rates must be > 0, got 0",
        "[load] timeout_s must be a number, got True",
        "[load] arrivals: 'weekly' is unknown (known: ideal, poisson, uniform, gamma, on_off, step, ramp, trace)",
        "[load] warmup_requests must be >= 1, got 0",
        "[load] exactly one of duration_s and requests is needed, got both",
        "[designs.a b] name 'a b': use letters, digits, and . _ - (it names folders)",
        "[designs.a b] exactly one of command and url is needed, got both",
        "[designs.a b] settings.nested: each must be text, a finite number or true/false, got [1]",
        "[designs.c] has an unknown key 'commnd'; did you mean command? "
        "valid: command, url, ca_file, wire, settings, load",
        "[designs.c] exactly one of command and url is needed, got neither",
        "[designs.d] command must be text, got 5",
        "[designs.d.load] needs rates, e.g. rates = [5, 10, 20], or concurrency, e.g. concurrency = [8]",
    ]
    assert [mistake for mistake in wanted if mistake not in found] == []


@pytest.mark.parametrize(
    ("load", "mistake"),
    [
        ("rates = [0]\nduration_s = 1", "[load] rates must be > 0, got 0"),
        ("rates = [-5]\nduration_s = 1", "[load] rates must be > 0, got -5"),
        ("rates = [inf]\nduration_s = 1", "[load] rates: each must be a number, got inf"),
        ("rates = [5, 5.0]\nduration_s = 1", "[load] rates: 5.0 is there twice"),
        ("rates = []\nduration_s = 1", "[load] needs rates, e.g. rates = [5, 10, 20], or"),
        ("rates = 5\nduration_s = 1", "[load] rates must be a list, e.g. [5], got 5"),
        ("duration_s = 1", "[load] needs rates, e.g. rates = [5, 10, 20], or concurrency, e.g. concurrency = [8]"),
        ("rates = [5]\nduration_s = 1\nconcurrency = [0]", "[load] concurrency must be >= 1, got 0"),
        ("concurrency = []\nduration_s = 1", "[load] needs rates, e.g. rates = [5, 10, 20], or"),
        ("concurrency = [4, 4]\nduration_s = 1", "[load] concurrency: 4 is there twice"),
        ("rates = [5]\nduration_s = 1\nprocesses = 65", "[load] processes must be <= 64, got 65"),
        ("rates = [5]\nduration_s = 1\nprocesses = 0", "[load] processes must be >= 1, got 0"),
        (
            "rates = [5]\nduration_s = 1\narrivals = ['gamma:cv=x']",
            "[load] arrivals: 'gamma:cv=x': cv must be a number",
        ),
        ("rates = [5]", "[load] exactly one of duration_s and requests is needed, got neither"),
        ("rates = [5]\nrequests = 0", "[load] requests must be >= 1, got 0"),
        ("rates = [5]\nrequests = 1.5", "[load] requests must be a whole number, got 1.5"),
        ("rates = [5]\nduration_s = -1", "[load] duration_s must be > 0, got -1"),
        ("rates = [5]\nduration_s = 1\narrivals = []", "[load] arrivals must not be empty"),
        ("rates = [1e6]\nduration_s = 60", "[load] a load of 60000000 requests (1e+06/s) is more than the 5,000,000"),
    ],
)
def test_mistakes_in_the_load(load, mistake):
    found = mistakes(f"[load]\n{load}\n{ONE_DESIGN}")
    assert len(found) == 1
    assert found[0].startswith(mistake)


@pytest.mark.parametrize(
    ("design", "mistake"),
    [
        ("", "[designs.NAME] is needed at least once"),
        ("[designs.a]\n", "[designs.a] exactly one of command and url is needed, got neither"),
        ("[designs.a]\ncommand = ' '", "[designs.a] command must not be empty"),
        ('[designs.a]\ncommand = "say \'x"', '[designs.a] command "say \'x" cannot be split into words'),
        ("[designs.a]\nurl = '127.0.0.1:8000'", "[designs.a] url must look like"),
        ("[designs.a]\ncommand='x'\nsettings = {size = []}", "[designs.a] settings.size must not be empty"),
        ("[designs.a]\ncommand='x'\nsettings = {size = [1, 1]}", "[designs.a] settings.size: 1 is there twice"),
        ("[designs.a]\ncommand='x'\nsettings = {seed = 1}", "[designs.a] settings.seed: the name is taken"),
        ("[designs.a]\ncommand='x'\nsettings = {port = 1}", "[designs.a] settings.port: the name is taken"),
        ("[designs.a]\ncommand='x'\nsettings = 5", "[designs.a] settings must be a table, got 5"),
        ("[designs]\na = 5", "[designs.a] must be a table, got 5"),
    ],
)
def test_mistakes_in_a_design(design, mistake):
    found = mistakes(f"[load]\nrates = [5]\nduration_s = 1\n{design}")
    assert found[0].startswith(mistake)


def test_every_wrong_value_of_a_list_is_told_once():
    assert mistakes(f"[load]\nrates = [-1, 'a']\nduration_s = 1\n{ONE_DESIGN}") == (
        "[load] rates must be > 0, got -1",
        "[load] rates: each must be a number, got 'a'",
    )


def test_a_closed_loop_needs_no_rates():
    (design,) = parse(f"[load]\nconcurrency = [1, 8]\nduration_s = 1\n{ONE_DESIGN}").designs.values()
    assert (design.load.concurrency, design.load.rates, design.load.processes) == ((1, 8), (), 1)


def test_a_load_may_have_a_deadline_and_a_server_for_each_point():
    load = "[load]\nrates = [5]\nduration_s = 1\n"
    (design,) = parse(f"{load}deadline_s = 0.5\nrestart = true\n{ONE_DESIGN}").designs.values()
    assert (design.load.deadline_s, design.load.restart) == (0.5, True)
    assert mistakes(f"{load}deadline_s = 0\n{ONE_DESIGN}") == ("[load] deadline_s must be > 0, got 0",)
    assert mistakes(f"{load}restart = 1\n{ONE_DESIGN}") == ("[load] restart must be true or false, got 1",)


def test_a_study_may_have_an_slo():
    study = parse(f"[study]\nslo = {{ latency_p95_s = 1.0 }}\n[load]\nrates = [5]\nrequests = 1\n{ONE_DESIGN}")
    assert study.slo.limits == {"latency_p95_s": 1.0}
    assert parse(GOOD).slo is None


@pytest.mark.parametrize(
    ("slo", "mistake"),
    [("1.0", "[study] slo must be a table"), ("{ latency_p42_s = 1 }", "[study] slo: unknown slo 'latency_p42_s'")],
)
def test_an_slo_that_cannot_be_read(slo, mistake):
    (found,) = mistakes(f"[study]\nslo = {slo}\n[load]\nrates = [5]\nrequests = 1\n{ONE_DESIGN}")
    assert found.startswith(mistake)


def test_mistakes_in_a_file_name_the_file(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(f"[load]\nrates = [0]\nrequests = 0\n{ONE_DESIGN}")
    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert caught.value.mistakes == (
        f"{path}: [load] rates must be > 0, got 0",
        f"{path}: [load] requests must be >= 1, got 0",
    )


def test_a_file_that_is_not_toml(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("[study\n")
    with pytest.raises(StudyError, match=r"x\.toml: not TOML: .*line 1"):
        load_study(path)


def test_a_study_is_found_by_path_or_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("")
    assert find_study(str(path)) == path
    assert find_study("smoke").name == "smoke.toml"
    with pytest.raises(StudyError, match=r"no study at 'absent'; known by name: .*smoke"):
        find_study("absent")


def test_a_retrieval_study_has_a_command_of_its_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[grids.a]\nn = 5\n")
    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert caught.value.mistakes == (f"{path} is a retrieval study: ragbench retrieval {path}",)


SWEEPS = [path for path in sorted(SHIPPED_STUDIES.glob("*.toml")) if "[grids." not in path.read_text()]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_studies_are_good(path):
    assert expand(load_study(path))


def test_the_smoke_study_is_short_and_covers_three_designs():
    study = load_study(SHIPPED_STUDIES / "smoke.toml")
    points = [point for launch in expand(study) for point in launch.points]
    assert set(study.designs) == {"baseline", "batched", "scaled"}
    assert {point.arrival for point in points} == {"ideal", "poisson"}
    assert sum(point.expected_s for point in points) < 120
