import aiohttp
import pytest

from ragbench.chaos.rubbish import KINDS, rubbish


async def test_it_is_ready_and_answers_each_kind_of_rubbish_in_turn():
    seen = []
    async with rubbish() as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/ready") as answer:
            assert answer.status == 200
        for _ in KINDS:
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
    async with rubbish() as url:
        pass
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"{url}/ready")
