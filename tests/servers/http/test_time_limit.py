"""The time that a client gives its request."""

import pytest

from servers.errors import BadRequest
from servers.http.headers import time_limit_s


def test_the_clients_time_holds_up_to_the_servers() -> None:
    assert time_limit_s({}, 60.0) == 60.0
    assert time_limit_s({b"x-request-timeout-s": b"1.5"}, 60.0) == 1.5
    assert time_limit_s({b"x-request-timeout-s": b"600"}, 60.0) == 60.0


@pytest.mark.parametrize("odd", ["", "soon", "0", "-1", "nan", "inf"])
def test_what_is_no_time_is_refused(odd: str) -> None:
    with pytest.raises(BadRequest, match="X-Request-Timeout-S"):
        time_limit_s({b"x-request-timeout-s": odd.encode()}, 60.0)
