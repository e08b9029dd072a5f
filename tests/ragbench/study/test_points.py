import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragbench.files.toml_tables import StudyError
from ragbench.results.slo import Slo
from ragbench.study.points import Configuration, expand
from ragbench.study.study_file import parse_study

STUDY = parse_study(
    tomllib.loads(
        """
        study.seeds = [1, 2]
        [load]
        rates = [20, 2.5]
        duration_s = 3
        [designs.baseline]
        command = "python -m servers baseline"
        [designs.batched]
        command = "python -m servers batched"
        settings = { max_batch_size = [8, 32], max_wait_s = 0.05 }
        """
    ),
    default_name="s",
)


def names(launches):
    return [point.name for launch in launches for point in launch.points]


def test_every_combination_is_there_once():
    launches = expand(STUDY)
    assert len(launches) == 3 * 2
    found = names(launches)
    assert len(set(found)) == len(found) == 3 * 2 * 2 * 2
    assert "baseline-ideal-20rps-seed1" in found
    assert "batched-max_batch_size=8-poisson-2.5rps-seed2" in found


def test_one_launch_holds_one_design_and_one_seed():
    for launch in expand(STUDY):
        assert all(point.configuration == launch.configuration for point in launch.points)
        assert len({point.seed for point in launch.points}) == 1
        assert len(launch.points) == 4


def test_where_a_load_restarts_each_point_has_a_launch_of_its_own():
    designs = {name: replace(one, load=replace(one.load, restart=True)) for name, one in STUDY.designs.items()}
    launches = expand(replace(STUDY, designs=designs))
    assert [len(launch.points) for launch in launches] == [1] * 24
    assert names(launches) == names(expand(STUDY))


@given(st.integers(0, 1000))
def test_order_is_shuffled_by_the_seed_and_nothing_is_lost(seed):
    first, second = (names(expand(replace(STUDY, seeds=(seed,)))) for _ in range(2))
    assert first == second
    assert len(set(first)) == 12


def test_orders_differ_between_seeds_in_launches_and_in_loads():
    orders = [expand(replace(STUDY, seeds=(seed,))) for seed in range(20)]
    assert len({tuple(launch.configuration.name for launch in launches) for launches in orders}) > 3
    loads = {tuple((p.arrival, p.offered_rps) for p in launch.points) for launches in orders for launch in launches}
    assert len(loads) > 10


def test_seeds_are_blocks():
    seeds = [launch.points[0].seed for launch in expand(STUDY)]
    assert seeds == [1, 1, 1, 2, 2, 2]


def test_closed_loops_are_points_beside_the_open_ones():
    design = STUDY.designs["baseline"]
    load = replace(design.load, arrivals=("gamma:cv=3",), rates=(20.0,), concurrency=(4, 16), processes=2)
    slo = Slo({"latency_p95_s": 1.0})
    points = expand(replace(STUDY, designs={"baseline": replace(design, load=load)}, seeds=(1,), slo=slo))[0].points
    assert sorted(point.name for point in points) == [
        "baseline-closed-16users-seed1",
        "baseline-closed-4users-seed1",
        "baseline-gamma_cv=3-20rps-seed1",
    ]
    told = {(p.arrival, p.offered_rps, p.concurrency, p.as_dict()["concurrency"], p.expected_s) for p in points}
    assert told == {("closed", None, 4, 4, 3.0), ("closed", None, 16, 16, 3.0), ("gamma:cv=3", 20.0, None, None, 3.0)}
    assert all(p.slo == slo and p.as_dict()["slo"] == {"latency_p95_s": 1.0, "attainment": 0.95} for p in points)
    assert all(p.as_dict()["processes"] == 2 for p in points)


def test_a_trace_that_is_too_short_is_refused_before_anything_starts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("offset_s\n0\n1\n2\n")
    design = STUDY.designs["baseline"]
    load = replace(design.load, arrivals=(f"trace:path={path}",))
    with pytest.raises(StudyError) as caught:
        expand(replace(STUDY, designs={"baseline": replace(design, load=load)}))
    assert len(caught.value.mistakes) == 2  # a line for each rate, not for each seed
    assert "holds 3 arrivals, which last 1.2 s at 2.5/s" in caught.value.mistakes[1]


def test_argv_has_any_free_port_and_the_settings_as_flags():
    design = Configuration(
        "x", {"max_batch_size": 8, "max_wait_s": 0.05, "flag": True, "routing": "a b"}, command="python -m s"
    )
    assert design.argv("/py") == [
        *("/py", "-m", "s", "--port", "0"),
        *("--max-batch-size", "8", "--max-wait-s", "0.05", "--flag", "true", "--routing", "a b"),
    ]


def test_argv_leaves_a_port_of_its_own_and_other_interpreters_alone():
    assert Configuration("x", {}, command="serve --port=9 python").argv("/py") == ["serve", "--port=9", "python"]


def test_odd_values_make_safe_folder_names():
    configuration = Configuration("x", {"path": "a/b c"}, ("path",), command="x")
    point = replace(expand(STUDY)[0].points[0], configuration=configuration)
    assert point.name == f"x-path=a_b_c-{point.arrival}-{point.name.split('-')[-2]}-seed1"
    assert "/" not in point.name


def test_two_points_never_share_a_folder():
    one = STUDY.designs["batched"]
    with pytest.raises(StudyError, match="two points would share the folder"):
        expand(replace(STUDY, designs={"batched": replace(one, settings={"path": ("a/b", "a b")})}))
