"""Bearer keys: who carries one, and what is a secret."""

import pytest

from servers.http.auth import bears
from servers.settings import is_secret


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("Bearer key-1", True),
        ("bearer key-2", True),
        ("Bearer  key-1 ", True),
        ("Bearer key-", False),
        ("Bearer key-11", False),
        ("Bearer", False),
        ("Bearer ", False),
        ("key-1", False),
        ("Basic key-1", False),
        ("Bearer Bearer key-1", False),
        ("Bearer k\xe9y", False),
        ("", False),
    ],
)
def test_a_request_carries_a_key_or_not(authorization: str, *, expected: bool) -> None:
    assert bears(authorization, ["key-1", "key-2"]) is expected


def test_without_keys_nobody_carries_one() -> None:
    assert not bears("Bearer ", [])


def test_secrets_are_known_by_their_names() -> None:
    assert is_secret("api_key")
    assert is_secret("admin_token")
    assert not is_secret("max_batch_tokens")
    assert not is_secret("max_new_tokens")
