"""The address of a service: checks of its URL, and the URL of each path."""

import asyncio
import ipaddress
import re
import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit, urlunsplit

_WANTED = 'url must look like "http://127.0.0.1:8000"'
# Labels of up to 63 characters; _ is none of the DNS's, but names of containers have it.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_HANDSHAKE_S = 3.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service answers. `base` ends without /; `query` is sent with every request, as some gateways want."""

    base: str
    query: str = ""

    @classmethod
    def of(cls, url: str, *, endpoint: str) -> "Address":
        """The address in a URL that has no mistakes; it may name the endpoint, as in /rag, itself."""
        parts = urlsplit(url)
        path = parts.path.rstrip("/").removesuffix(endpoint)
        return cls(urlunsplit((parts.scheme, parts.netloc, path, "", "")), parts.query)

    def at(self, path: str) -> str:
        """The URL of one path of the service."""
        return f"{self.base}{path}" + (f"?{self.query}" if self.query else "")


def url_mistakes(url: str) -> list[str]:
    """Why `url` cannot be requested, or kept in a manifest: a line, or none."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return [f"{_WANTED}: {error}, got {url!r}"]
    if parts.username is not None:
        return ["url must not hold a user or a password: every manifest would keep them"]
    checks = (
        (parts.scheme in ("http", "https"), "it begins with http:// or https://"),
        (not re.search(r"[\s\x00-\x1f\x7f]", url), "a space or a control character must be percent-encoded"),
        (bool(parts.hostname), "a host is missing"),
        (_is_port(parts), "a port is a number from 1 to 65535"),
        ("#" not in url, "what follows # never reaches a server"),
        (_is_host(parts), f"{parts.hostname!r} is no host"),
    )
    return [f"{_WANTED}: {wrong}, got {url!r}" for is_right, wrong in checks if not is_right][:1]


def _is_port(parts: SplitResult) -> bool:
    """Whether the port is absent or valid."""
    try:
        return not parts.netloc.endswith(":") and parts.port != 0
    except ValueError:
        return False


def _is_host(parts: SplitResult) -> bool:
    """Whether the host is an address in brackets, or labels that the DNS can hold."""
    host = parts.hostname or ""
    bracketed = re.fullmatch(r"\[([^\[\]]+)\](:[0-9]+)?", parts.netloc)
    try:
        if bracketed:
            return ipaddress.ip_address(bracketed[1].replace("%25", "%")).version == 6
        return _NAME.fullmatch(host if host.isascii() else host.encode("idna").decode()) is not None
    except ValueError:  # UnicodeError too
        return False


async def speaks_tls(address: Address) -> bool:
    """Whether what listens at an address answers a TLS handshake, whatever its certificate."""
    parts = urlsplit(address.base)
    anyone = ssl.create_default_context()
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_HANDSHAKE_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, ssl=anyone)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


def ca_file_mistakes(path: str) -> list[str]:
    """A line where `path` is not a file of certificates that can be read."""
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        return [f"{path} holds no certificate in PEM: {error.reason or error}"]
    except OSError as error:
        return [f"{path}: {error.strerror}"]
    return []
