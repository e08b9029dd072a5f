from dataclasses import replace

import pytest

from scripts.statistics_tables import power


def case(name, seeds, rates):
    return next(each for each in power.cases() if (each.name, each.seeds, each.rates) == (name, seeds, rates))


def told(case, repeats):
    return power.row(replace(case, repeats=repeats), [power.repeat(case, number) for number in range(repeats)])


def test_every_number_of_seeds_and_rates_is_tried_where_servers_differ():
    wanted = {(seeds, rates) for seeds in (1, 2, 3, 5) for rates in (1, 3, 7)}
    for name in ("20% apart", "50% slower"):
        assert {(each.seeds, each.rates) for each in power.cases() if each.name == name} == wanted
    assert {each.repeats for each in power.cases() if each.name == "equal"} == {200}


def test_three_seeds_show_what_t_over_three_seeds_did_not():
    found = told(case("20% apart", 3, 3), 3)
    assert found["shown"] >= 0.9 > found["shown_before"]
    assert found["throughput"] == 1.0
    assert found["false_throughput"] == 0.0


def test_the_gate_fails_on_a_server_half_as_slow_again():
    assert told(case("50% slower", 3, 1), 3)["gate"] == 1.0


def test_equal_servers_are_rarely_told_apart():
    found = told(case("equal", 3, 1), 12)
    assert found["any"] <= 1 / 12
    assert "shown" not in found


def test_the_queues_are_those_of_the_fixture():
    """Lindley's recursion, a request at a time."""
    run = power.make_pairs(case("20% apart", 1, 1), 4)[0].runs[0][1]
    due, free, waits = [0.0, 0.01, 0.012, 0.5], 0.0, []
    for at, work in zip(due, services := [0.02, 0.02, 0.01, 0.02], strict=True):
        free = max(free, at) + work
        waits.append(free - at)
    made = power.requests_of(power.np.array(due), power.np.array(services), power.Window(0.0, 0.5))
    assert made.latencies_s == pytest.approx(waits)
    assert made.answered.sum() == 3
    assert run.requests().latencies_s.min() >= 0.5 * 0.014 * 1.2
