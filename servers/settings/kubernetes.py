"""Variables that Kubernetes gives every container of a namespace, for a service whose name begins like ours.

A service `rag` makes `RAG_PORT=tcp://10.0.0.1:8000`, `RAG_SERVICE_HOST` and others, `rag-api` makes `RAG_API_PORT` and
so on (https://kubernetes.io/docs/concepts/services-networking/service, "Environment variables"). They are no settings.
"""

import re
from collections.abc import Mapping

_URL = re.compile(r"(tcp|udp|sctp)://\S+:[0-9]+", re.IGNORECASE)
_FORMS = (
    (re.compile(r"\w+_SERVICE_HOST"), re.compile(r"[0-9a-f.:]*", re.IGNORECASE)),  # an address of v4 or v6
    (re.compile(r"\w+_SERVICE_PORT(_\w+)?"), re.compile(r"[0-9]+")),
    (re.compile(r"\w+_PORT"), _URL),
    (re.compile(r"\w+_PORT_[0-9]+_(TCP|UDP|SCTP)"), _URL),
    (re.compile(r"\w+_PORT_[0-9]+_(TCP|UDP|SCTP)_PROTO"), re.compile(r"tcp|udp|sctp", re.IGNORECASE)),
    (re.compile(r"\w+_PORT_[0-9]+_(TCP|UDP|SCTP)_PORT"), re.compile(r"[0-9]+")),
    (re.compile(r"\w+_PORT_[0-9]+_(TCP|UDP|SCTP)_ADDR"), re.compile(r"[0-9a-f.:]*", re.IGNORECASE)),
)


def service_variables(environment: Mapping[str, str], *, prefix: str) -> list[str]:
    """Sorted names of the variables with `prefix` whose name and value have such a form."""
    return sorted(
        name
        for name, value in environment.items()
        if name.startswith(prefix) and any(form.fullmatch(name) and wanted.fullmatch(value) for form, wanted in _FORMS)
    )
