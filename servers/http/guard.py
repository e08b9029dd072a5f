"""Which requests are refused before anything runs: Host, Origin, key, length and path."""

from collections.abc import Mapping, Sequence

from servers.http.auth import about_origin, bears, host_check
from servers.http.exchange import Reply, problem
from servers.settings import Settings


class Guard:
    """Answers 403 to a Host or an Origin of another site, 401 without one of the keys, 413 to a body over the limit."""

    def __init__(self, settings: Settings) -> None:
        self.keys = settings.keys()
        self.max_body_bytes = settings.max_body_bytes
        self._about_host = host_check(settings.host, settings.hosts)

    def refusal(
        self,
        path: str,
        headers: Mapping[bytes, bytes],
        lines: Sequence[tuple[bytes, bytes]],
        *,
        is_open: bool,
    ) -> Reply | None:
        """The reply to a request that is refused, or None.

        `lines` are its headers as they came; `is_open`: it needs no key.
        """
        if len(headers) != len(lines) and sum(name == b"host" for name, _ in lines) > 1:
            return problem(400, "there must be one Host")
        wrong = self._about_host(headers) or (None if is_open else about_origin(headers))
        if wrong is not None:
            return problem(403, wrong)
        if self.keys and not is_open and not bears(headers.get(b"authorization", b"").decode("latin-1"), self.keys):
            return problem(401, "a bearer key is needed here", ((b"www-authenticate", b"Bearer"),))
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self.max_body_bytes:
            return problem(413, self.too_large)
        if not path.isprintable():  # Starlette takes "/rag\n" for "/rag", which is counted and logged by its name
            return problem(404, "Not Found")
        return None

    @property
    def too_large(self) -> str:
        """What is wrong with a body over the limit."""
        return f"body: must be at most {self.max_body_bytes} bytes"
