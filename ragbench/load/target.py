"""The target of a load: one value, made once and passed down."""

import ssl
from dataclasses import dataclass

RAG = "rag"
"""The wire of a design that names none."""


@dataclass(frozen=True, slots=True)
class Target:
    """A service, the wire that it speaks, and what each request wants of it.

    `timeout_s` counts from when a request was due. `deadline_s` is sent to the service with each request: how long its
    answer is of use. `ca_file` (PEM) is trusted instead of the system's authorities. `k`: documents wanted.
    """

    url: str
    timeout_s: float
    wire: str = RAG
    k: int = 2
    max_new_tokens: int | None = None
    deadline_s: float | None = None
    ca_file: str | None = None

    @property
    def trust(self) -> ssl.SSLContext | bool:
        """What aiohttp checks a certificate by."""
        return True if self.ca_file is None else ssl.create_default_context(cafile=self.ca_file)
