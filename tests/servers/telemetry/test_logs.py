"""What a log line holds, and that every line of a real server in JSON is one."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from servers.telemetry.logs import JsonLines, TextLines, request_id
from tests.servers.running import QUESTION, running


def record(event: str, **given: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "servers.fleet.processes", "levelname": "INFO", "msg": event, **given})
    made.created = 1_769_860_800.25
    return made


def failed() -> logging.LogRecord:
    try:
        {}["no such\nreplica"]
    except KeyError:
        return record("a batch of %d failed", args=(3,), exc_info=sys.exc_info())


def test_a_line_of_text_has_the_event_its_fields_and_the_request() -> None:
    form = TextLines("scaled[977]")
    assert form.format(record("ready", port=8001)) == (
        "2026-01-31T12:00:00.250Z INFO scaled[977] servers.fleet.processes: ready port=8001"
    )
    token = request_id.set("mine")
    try:
        assert form.format(record("answered")).endswith(": answered request_id=mine")
    finally:
        request_id.reset(token)


@pytest.mark.attack
def test_a_client_writes_no_field_and_no_line_of_its_own() -> None:
    form = TextLines("scaled[977]")
    token = request_id.set("mine status=200 seconds=0")
    try:
        line = form.format(record("answered", status=500))
    finally:
        request_id.reset(token)
    assert line.endswith(': answered status=500 request_id="mine status=200 seconds=0"')
    for text in ("a b", "a=b", 'a"b', "a\\b", "a\nb", "a\u2028b", ""):
        _, _, shown = form.format(record("ready", path=text)).partition(" path=")
        assert (shown, json.loads(shown)) == (json.dumps(text), text)
    forged = form.format(record("odd answer\n2026-01-31T12:00:00.250Z INFO forged\r\x1b[31m\u2028"))
    assert forged.endswith(r": odd answer\n2026-01-31T12:00:00.250Z INFO forged\r\x1b[31m\u2028")
    assert form.format(record("caf\xe9 a=b")).endswith(": caf\xe9 a=b")


def test_text_keeps_the_lines_of_a_traceback() -> None:
    lines = TextLines("scaled[977]").format(failed()).splitlines()
    assert lines[0].endswith("servers.fleet.processes: a batch of 3 failed")
    assert lines[1] == "Traceback (most recent call last):"


def test_an_object_has_the_event_its_fields_the_request_and_the_traceback() -> None:
    form = JsonLines("scaled[977]")
    token = request_id.set("mine")
    try:
        line = form.format(record("ready", port=8001, path=Path("a"), level="mine"))
    finally:
        request_id.reset(token)
    assert json.loads(line) == {
        "time": "2026-01-31T12:00:00.250Z",
        "level": "info",
        "server": "scaled[977]",
        "logger": "servers.fleet.processes",
        "event": "ready",
        "request_id": "mine",
        "port": 8001,
        "path": "a",
    }
    line = form.format(failed())
    assert "\n" not in line
    assert json.loads(line)["error"].startswith("Traceback (most recent call last):")
    assert "request_id" not in json.loads(line)


async def test_a_fleet_and_its_replicas_log_json_and_each_answer(tmp_path: Path) -> None:
    flags = ["--profile", "stub", "--base-port", "18900", "--min-replicas", "1", "--max-replicas", "1"]
    async with running(tmp_path, "scaled", *flags, "--log-format", "json", "--access-log") as (server, client):
        for name in ("one", "two"):
            assert (await client.post("/rag", json=QUESTION, headers={"X-Request-Id": name})).status_code == 200
        assert (await client.post("/rag", json={"query": ""})).status_code == 422
        assert (await client.get("/health")).status_code == 200
        [replica] = (await client.get("/replicas")).json()["replicas"]
    ready, *events = sorted(
        (json.loads(line) for line in server.new_log().splitlines()), key=lambda line: "event" in line
    )
    assert ready["ready"]
    names = {f"scaled[{server.pid}]", f"batched[{replica['pid']}]"}
    assert names < {event["server"] for event in events}
    assert len({event["server"] for event in events}) == 3, "the engine's process too"
    for name in names:
        answered = [event for event in events if (event["event"], event["server"]) == ("answered", name)]
        assert [event["status"] for event in answered] == [200, 200, 422]
        assert [event["request_id"] for event in answered][:2] == ["one", "two"]
        assert all(event["seconds"] > 0 for event in answered)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["text", "json"])
async def test_answers_are_not_logged_unless_asked_for_and_a_failed_start_is(form: str, tmp_path: Path) -> None:
    async with running(tmp_path, "baseline", "--profile", "stub", "--log-format", form) as (server, client):
        assert (await client.post("/rag", json=QUESTION)).status_code == 200
        port = str(client.base_url.port)
        second = started_on_a_taken_port(port, form)
    assert "answered" not in server.new_log()
    last = second.splitlines()[-1]
    told = json.loads(last)["event"] if form == "json" else last
    assert told.startswith(f"baseline: cannot listen on 127.0.0.1:{port}")


def started_on_a_taken_port(port: str, form: str) -> str:
    argv = [sys.executable, "-m", "servers", "baseline", "--profile", "stub", "--port", port, "--log-format", form]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 75
    return done.stderr
