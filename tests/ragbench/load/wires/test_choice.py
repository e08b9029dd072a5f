"""A design names its wire: what is sent goes by it, and a name that is in no table is one line."""

import json
from types import SimpleNamespace

import pytest
from aiohttp import web

from ragbench.capacity.run import Plan, first_points
from ragbench.files.toml_tables import StudyError
from ragbench.load import wires
from ragbench.measure.point import measure
from ragbench.measure.sweep import make_plan
from ragbench.processes.launch import Remote
from ragbench.results.paths import StudyPaths
from ragbench.results.slo import Slo
from ragbench.study.points import expand
from ragbench.study.questions import load_questions
from ragbench.study.study_file import parse_study

MINE = SimpleNamespace(
    path="/mine",
    body=lambda request, target: json.dumps({"asked": request.question.query}).encode(),
    read=lambda answer, question: {"status": "ok", "result": json.loads(answer.body)["told"]},
)


def study(url, **design):
    load = {"arrivals": ["ideal"], "rates": [50], "requests": 5, "warmup_requests": 1}
    tables = {"workload": {"same_answers": True}, "load": load, "designs": {"a": {"url": url, **design}}}
    return parse_study(tables, default_name="it")


async def test_what_is_sent_and_read_goes_by_the_wire_that_the_design_names(monkeypatch):
    monkeypatch.setattr(wires, "WIRES", {**wires.WIRES, "mine": MINE})

    async def mine(request):
        return web.json_response({"told": (await request.json())["asked"]})

    application = web.Application()
    application.add_routes([web.post("/mine", mine)])
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        [point] = expand(study(url, wire="mine"))[0].points
        made = await measure(point, Remote(url), load_questions("facts"))
    finally:
        await runner.cleanup()
    assert [row.status for row in made.rows] == ["ok"] * 5
    assert {row.result for row in made.rows} == {request.question.query for request in made.schedule}
    assert point.as_dict()["wire"] == "mine"


def test_a_design_that_names_none_is_the_point_that_it_was_before():
    [point] = expand(study("http://x"))[0].points
    assert "wire" not in point.as_dict()


def test_a_wire_that_is_not_there_is_one_line_before_anything_starts(tmp_path):
    absent, line = study("http://x", wire="absent"), r"wire must be one of rag.*, got 'absent'"
    with pytest.raises(StudyError, match=line):
        make_plan(absent, StudyPaths(tmp_path))
    with pytest.raises(StudyError, match=line):
        first_points(absent, Plan(Slo({"latency_p95_s": 1.0})))
