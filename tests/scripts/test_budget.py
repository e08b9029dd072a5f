"""What a request costs, by part."""

import csv
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest

from scripts.budget import figures
from scripts.budget.parts import EVENT_LOOP, OF_THEIR_CALLER, OTHER, PARTS, part_of
from scripts.budget.processes import SAMPLER

ROOT = Path(__file__).parents[2]
MINE = {"event loop": ["asyncio.runners"], "burning": ["burner"], "sleeping": ["sleeper"], "light": ["light"]}
PROGRAM = """
import asyncio, os, signal, time
import burner, light, sleeper

async def main():
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.sleep(0)
    {work}
    os.kill(os.getpid(), signal.SIGUSR2)
    await asyncio.sleep(0)

if __name__ == "__main__":
    import uvloop
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
"""
BURNER = """
import time

def burn(cpu_s):
    until_s = time.process_time() + cpu_s
    while time.process_time() < until_s:
        pass
"""
SLEEPER = """
import time

def sleep(seconds):
    time.sleep(seconds)
"""
LIGHT = """
import gc

def touch():
    return len("touched")

def collect():
    for _ in range(10):
        gc.collect()
"""
BURN_AND_SLEEP = "burner.burn(0.4); sleeper.sleep(0.4)"
IN_C_ALONE = """loop = asyncio.get_running_loop()
    numbers = list(range(200_000))
    for _ in range(200):
        loop.call_soon(sum, numbers)  # the loop calls it with no Python between
        loop.call_soon(light.touch)
        await asyncio.sleep(0)"""
COLLECTING = """held = [[number] for number in range(300_000)]
    light.collect()"""


def sampled(folder: Path, work: str) -> dict[str, int]:
    """Samples by part of a program that does this under uvloop."""
    for name, text in {"burner": BURNER, "sleeper": SLEEPER, "light": LIGHT}.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "program.py").write_text(PROGRAM.format(work=work))
    env = os.environ | {"BUDGET": str(folder), "PYTHONPATH": f"{SAMPLER}{os.pathsep}{folder}"}
    subprocess.run([sys.executable, "program.py"], cwd=folder, env=env, check=True, timeout=60)
    (written,) = folder.glob("*.json")
    parts = {**MINE, "garbage collection": PARTS["garbage collection"]}
    return figures.counted((part_of(stack, parts), count) for count, stack in json.loads(written.read_text()))


def start(**given):
    usual = {"requests": 2000, "seconds": 1.0, "cpu_s": {"front": (0.15, 0.05)}, "samples": {"a": 30, "b": 10}}
    return figures.Start(**(usual | given))


def test_cpu_time_counts_where_it_is_spent_and_sleep_nowhere(tmp_path):
    found = sampled(tmp_path, BURN_AND_SLEEP)
    assert found["burning"] >= 0.9 * sum(found.values()) >= 30
    assert found["sleeping"] == 0


def test_what_the_loop_runs_without_python_is_not_its_next_callback(tmp_path):
    found = sampled(tmp_path, IN_C_ALONE)
    assert found["event loop"] > 10
    assert found["light"] < 0.1 * found["event loop"]


def test_garbage_collection_counts_by_itself(tmp_path):
    found = sampled(tmp_path, COLLECTING)
    assert found["garbage collection"] > 10 * found["light"]


def test_the_innermost_frame_with_a_part_decides():
    run = ["asyncio.runners", "Runner.run"]
    guard = ["servers.http.guard", "Guard.refusal"]
    assert part_of([["re", "fullmatch"], guard, run]) == "guards"
    assert part_of([["prometheus_client.metrics", "Counter.inc"], guard, run]) == "metrics"
    assert part_of([run, ["__main__", "main"]]) == EVENT_LOOP
    assert part_of([["re", "fullmatch"], run]) == OTHER
    assert part_of([]) == OTHER


def test_a_function_may_have_another_part_than_its_module():
    assert part_of([["servers.http.task", "count"]]) == "metrics"
    assert part_of([["servers.http.task", "Task.answer"]]) == "task"
    assert part_of([["servers.batched", "Batched.mount.<locals>.<lambda>"]]) == "load report"
    assert part_of([["servers.http.taskless", "count"]]) == OTHER


def test_what_serves_two_parts_counts_for_the_one_that_calls_it():
    shared, run = ["servers.queueing.batcher", "Batcher.waiting"], ["asyncio.runners", "Runner.run"]
    assert part_of([shared, ["servers.queueing.batcher", "Batcher.predicted_s"], run]) == "load report"
    assert part_of([shared, ["servers.queueing.batcher", "Batcher.submit"], run]) == "batcher"


def test_the_table_of_parts_names_what_there_is():
    named = [*OF_THEIR_CALLER, *(name for names in PARTS.values() for name in names)]
    assert len(named) == len(set(named)), "two parts of one name"
    for name in named:
        module, _, function = name.partition(":")
        if module in ("opentelemetry",):
            continue  # an extra
        found = importlib.import_module(module)
        if function:
            assert reduce(inspect.getattr_static, function.split("."), found), name


def test_the_parts_of_a_start_are_its_whole():
    one = start(samples={"a": 7, "b": 5, "c": 1})
    assert sum(one.process_us("front")) == pytest.approx(100.0)
    assert one.part_us("a") == pytest.approx(700 / 13)
    assert sum(one.part_us(part) for part in "abc") == pytest.approx(100.0)


def test_rows_have_the_mean_the_range_and_the_error_that_the_samples_leave():
    dear = start(samples={"a": 10, "b": 10}, cpu_s={"front": (0.2, 0.2), "engine": (0.02, 0.0), "idle": (0.0, 0.0)})
    a, b, *processes = figures.rows("batched", [start(), dear])
    assert (a.part, a.us, a.low_us, a.high_us) == ("a", pytest.approx(87.5), pytest.approx(75), pytest.approx(100))
    assert (b.part, b.us) == ("b", pytest.approx(62.5))
    assert (a.share, a.samples) == (pytest.approx(40 / 60), 40)
    assert a.standard_error_us == pytest.approx(150 * 0.0608580619)  # sqrt(2/3 * 1/3 / 60)
    whole = {row.process: row.us for row in processes if row.part == "whole"}
    assert whole == {"front": pytest.approx(150), "engine": pytest.approx(5), "all": pytest.approx(155)}


def test_a_window_without_answers_is_refused():
    with pytest.raises(ValueError, match="nothing was answered"):
        start(requests=0)


def budget(*arguments: str) -> str:
    command = [sys.executable, "scripts/budget", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.slow
def test_a_part_that_burns_is_found_in_a_server(tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "servers" / "http", checkout / "servers" / "http")
    for name in ("policies", *(f"servers/{each.name}" for each in (ROOT / "servers").iterdir() if each.name != "http")):
        (checkout / name).symlink_to(ROOT / name)
    guard = checkout / "servers" / "http" / "guard.py"
    head = '            return problem(400, "there must be one Host")\n'
    slow = "        import time\n        until = time.thread_time() + 300e-6\n"
    slow += "        while time.thread_time() < until:\n            pass\n"
    assert head in guard.read_text()
    guard.write_text(guard.read_text().replace(head, head + slow))
    printed = budget(
        "batched", "--seconds", "2", "--starts", "1", "--checkout", str(checkout), "--out", f"{tmp_path}/rows.csv"
    )
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    parts = {row["part"]: float(row["us"]) for row in rows if row["share"]}
    (whole,) = (float(row["us"]) for row in rows if (row["process"], row["part"]) == ("front", "whole"))
    assert 270 < parts["guards"] < 0.9 * whole
    assert sum(parts.values()) == pytest.approx(whole, rel=1e-3)
    assert parts.get(OTHER, 0.0) < 0.05 * whole
    assert re.search(r"^guards +\d", printed, re.MULTILINE)
    assert (tmp_path / "rows.md").read_text() == printed.removesuffix("\n")
