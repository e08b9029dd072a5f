import aiohttp
import pytest

from ragbench.chaos.experiment import Experiment, Terms
from ragbench.chaos.faults import MALFORMED, malformed_server, reload_the_front


async def test_it_is_ready_and_answers_with_each_malformed_answer_in_turn():
    seen = []
    async with malformed_server() as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/ready") as answer:
            assert answer.status == 200
        for _ in MALFORMED:
            try:
                async with session.post(f"{url}/rag", data=b"{}") as answer:
                    seen.append((answer.status, await answer.read()))
            except aiohttp.ClientError as error:
                seen.append((type(error).__name__, b""))
    kinds = [kind for kind, _ in seen]
    assert kinds[:2] == ["ClientResponseError", "ServerDisconnectedError"]
    assert seen[2] == (200, b"not JSON!")
    assert kinds[3] == "ClientPayloadError"
    assert seen[4] == (500, b"")


async def test_it_is_gone_afterwards():
    async with malformed_server() as url:
        pass
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"{url}/ready")


@pytest.mark.parametrize(("status", "message"), [(0, None), (3, "ended with status 3")])
async def test_the_front_is_reloaded_by_a_command_that_must_end_well(status, message, tmp_path):
    terms = Terms((), (), (), reload=("sh", "-c", f"touch {tmp_path}/reloaded; exit {status}"))
    experiment = Experiment(None, terms, tmp_path, 1.0, None, None)
    if message is None:
        await reload_the_front(experiment)
    else:
        with pytest.raises(OSError, match=message):
            await reload_the_front(experiment)
    assert (tmp_path / "reloaded").exists()
