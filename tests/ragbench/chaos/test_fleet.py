"""What a fleet reports: retries, and answers in access logs."""

import json

from ragbench.chaos.fleet import answered_ids, answered_twice, logs_of, read_retries


def test_retries_are_summed_over_labels():
    text = '# TYPE rag_retries_total counter\nrag_retries_total{reason="gone"} 2.0\nrag_retries_total 3.0\nx 9\n'
    assert read_retries(text) == 5
    assert read_retries("# TYPE rag_retries_total counter\n") == 0
    assert read_retries("up 1\n") is None


def line(request_id, *, server="batched[7]", status=200, event="answered"):
    return json.dumps({"event": event, "status": status, "request_id": request_id, "server": server, "more": 1}) + "\n"


def test_only_answers_of_replicas_are_read():
    lines = [
        line("a"),
        line("a", server="scaled[5]"),
        line("b", status=503),
        line("c", event="started"),
        "2026 INFO batched[7] up\n",
        '{"event": "ans',
        "[1]\n",
        line("d", server="batched[8]"),
    ]
    assert list(answered_ids(lines)) == ["a", "d"]


def test_one_log_for_all(tmp_path):
    (tmp_path / "server.log").write_text(line("a") + line("b") + line("a", server="batched[8]"))
    assert answered_twice(logs_of(tmp_path)) == 1


def test_a_log_each_and_one_of_the_restarted_fleet(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "server.log").write_text(line("a", server="scaled[5]"))
    (tmp_path / "server-2.log").write_text(line("c"))
    (tmp_path / "logs" / "replica-8000.log").write_text(line("a") + line("b") + line("c"))
    (tmp_path / "logs" / "replica-8001.log").write_bytes(b"\xff\n" + line("a").encode())
    assert answered_twice(logs_of(tmp_path)) == 2


def test_a_log_that_tells_nothing_is_not_a_log_without_duplicates(tmp_path):
    (tmp_path / "server.log").write_text("nothing\n")
    assert answered_twice(logs_of(tmp_path)) is None
    (tmp_path / "server.log").write_text(line("a"))
    assert answered_twice(logs_of(tmp_path)) == 0
