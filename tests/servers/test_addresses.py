"""Addresses of replicas: one spelling each, and only those that are on the list."""

import pytest

from servers.addresses import check_hosts, is_allowed, is_here, is_loopback, parsed
from servers.errors import BadRequest


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("HTTP://LOCALHOST.:8000/", "http://127.0.0.1:8000"),
        ("http://127.1:8000", "http://127.0.0.1:8000"),
        ("http://2130706433:8000", "http://127.0.0.1:8000"),
        ("http://0x7f.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://0177.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("http://0:8000", "http://127.0.0.1:8000"),
        ("http://[::ffff:127.0.0.1]:8000", "http://127.0.0.1:8000"),
        ("http://[::ffff:7f00:1]:8000", "http://127.0.0.1:8000"),
        ("http://[::]:8000", "http://[::1]:8000"),
        ("http://[0:0:0:0:0:0:0:1]:8000", "http://[::1]:8000"),
        ("http://gpu-1.example", "http://gpu-1.example:80"),
    ],
)
def test_a_place_has_one_spelling(url: str, told: str) -> None:
    assert str(parsed(url)) == told


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "127.0.0.1:8000",
        "//127.0.0.1:8000",
        "ftp://127.0.0.1:1",
        "https://127.0.0.1:1",
        "file:///etc/passwd",
        "http://",
        "http://:8000",
        "http://.:8000",
        "http://[::1",
        "http://127.0.0.1:",
        "http://127.0.0.1:0",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:-1",
        "http://127.0.0.1:1/path",
        "http://127.0.0.1:1//",
        "http://127.0.0.1:1?query",
        "http://127.0.0.1:1#part",
        "http://127.0.0.1:1?",
        "http://127.0.0.1:1#",
        "http://user@127.0.0.1:1",
        "http://user:word@127.0.0.1:1",
        "http://@127.0.0.1:1",
        "http://127.0.0.1\\@elsewhere:1",
        "http://127.0.0.1%2f:1",
        "http://[fe80::1%25eth0]:1",
        "http://127.0.0.1:1\r\nHost: x",
        "http://127.0.0\t.1:1",
        " http://127.0.0.1:1",
        "http://\uff11\uff12\uff17.0.0.1:1",
        "http://\u24db\u24de\u24d2alhost:1",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match="wanted http://host:port"):
        parsed(url)


@pytest.mark.parametrize(
    ("host", "allow_hosts", "expected"),
    [
        ("127.0.0.1", "localhost", True),
        ("127.9.9.9", "localhost", True),
        ("::1", "localhost", True),
        ("10.0.0.1", "localhost", False),
        ("169.254.169.254", "localhost", False),
        ("localhost.evil.example", "localhost", False),
        ("127.0.0.1.evil.example", "localhost", False),
        ("127.0.0.1", "10.0.0.1", False),
        ("10.0.0.1", "10.0.0.2, 10.0.0.1", True),
        ("10.0.0.1", "10.0.0.0/30", True),
        ("10.0.0.5", "10.0.0.0/30", False),
        ("::1", "10.0.0.0/30", False),
        ("gpu-1", "gpu-1", True),
        ("gpu-1", "GPU-1.", True),
        ("gpu-10", "gpu-1", False),
        ("127.0.0.1", "", False),
    ],
)
def test_only_hosts_on_the_list_are_allowed(host: str, allow_hosts: str, *, expected: bool) -> None:
    assert is_allowed(host, allow_hosts) is expected


@pytest.mark.parametrize("allow_hosts", ["*", "http://a", "10.0.0.0/64", "a b"])
def test_a_list_that_means_nothing_is_an_error(allow_hosts: str) -> None:
    with pytest.raises(ValueError, match=r"wanted names|does not appear|netmask"):
        check_hosts(allow_hosts)


def test_this_machine_is_known_by_any_of_its_addresses() -> None:
    assert is_here({"203.0.113.7", "127.0.0.1"})
    assert is_here({"127.8.8.8"})
    assert not is_here({"203.0.113.7"})
    assert not is_here(set())


def test_loopback_is_known_in_any_spelling() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1", "127.3.2.1")))
    assert not any(map(is_loopback, ("10.0.0.1", "example.org", "::", "0.0.0.0")))
