"""The calibration server on a loop in virtual time, and once as the process that it is."""

import asyncio
import sys

import pytest

from ragbench.calibration.server import Queue, null, parser, service_of
from ragbench.calibration.trial import measured
from ragbench.processes.launch import start
from tests import virtual


def answers(behind, arrivals):
    """Submit request i at arrivals[i]. -> per request (when it was answered, queue_s, service_s, batch_size)."""

    async def run():
        found = {}
        for number, at in enumerate(arrivals):
            await asyncio.sleep(max(0.0, at - virtual.now()))
            behind(number, lambda *told, number=number: found.update({number: (virtual.now(), *told)}))
        await asyncio.sleep(1000)
        return [found[number] for number in range(len(arrivals))]

    return virtual.run(run())


def test_a_queue_serves_in_turn():
    found = answers(Queue(lambda numbers: [2.0, 1.0, 0.5][numbers[0]]), [0.0, 1.0, 5.0])
    assert found == [(2.0, 0.0, 2.0, 1), (3.0, 1.0, 1.0, 1), (5.5, 0.0, 0.5, 1)]


def test_batches_take_what_waits_when_free():
    found = answers(Queue(lambda numbers: 1.0 + 0.25 * len(numbers), 2), [0.0, 0.1, 0.2, 0.3])
    assert [when for when, *_ in found] == pytest.approx([1.25, 2.75, 2.75, 4.0])
    assert [size for *_, size in found] == [1, 2, 2, 1]
    assert [queue_s for _, queue_s, *_ in found] == pytest.approx([0.0, 1.15, 1.05, 2.45])


def test_null_answers_at_once():
    assert answers(null, [1.0]) == [(1.0, 0.0, 0.0, 1)]


def test_the_flags_make_the_work():
    def first_two(*flags):
        return [when for when, *_ in answers(service_of(parser().parse_args(flags)), [0.0, 0.0])]

    assert first_two("--capacity-rps", "4") == [0.25, 0.5]
    assert first_two("--service", "deterministic", "--mean-s", "0.5") == [0.5, 1.0]
    stalled = ("--service", "deterministic", "--mean-s", "0.5", "--stall-at-request", "1", "--stall-s", "3")
    assert first_two(*stalled) == [0.5, 4.0]
    assert first_two(*stalled[:4], "--stall-at-request", "99999") == [0.5, 1.0]


@pytest.mark.parametrize(
    "flags",
    ["--mean-s 0", "--max-batch-size 0", "--max-batch-size 1.5", "--stall-at-request -1", "--warmup-requests -1"],
)
def test_flags_that_make_no_sense_are_refused(flags):
    with pytest.raises(SystemExit):
        parser().parse_args(flags.split())


@pytest.mark.timing
async def test_a_real_server_takes_the_time_it_names():
    found = await measured("--service deterministic --mean-s 0.03", rate=20, duration_s=1.0)
    assert [row.status for row in found.rows] == ["ok"] * 20
    assert all(0.03 <= row.latency_s < 0.2 for row in found.rows)
    assert {row.generate_s for row in found.rows} == {0.03}
    assert found.server_info["settings"]["mean_s"] == 0.03


async def test_what_is_not_http_is_told_so(tmp_path):
    command = [sys.executable, "-m", "ragbench.calibration.server", "--port", "0"]
    server = await start(command, log=tmp_path / "log", ready_timeout_s=30.0)
    try:
        assert (await said(server.url, b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400")
        assert (await said(server.url, b"GET /else HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404")
    finally:
        assert await server.stop() == []


async def said(url, words):
    """What the server answers to raw bytes."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(words)
        answer = await reader.read(200)
        writer.close()
        await writer.wait_closed()
        return answer
