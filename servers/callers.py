"""Who asks: somebody with a key or on this machine, who may see everything, or a stranger. Answers nobody."""

from starlette.requests import Request

from servers.addresses import is_loopback

__all__ = ["is_local", "is_trusted"]

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def is_local(request: Request) -> bool:
    """Whether it comes from a loopback address, and no proxy says that it comes from elsewhere."""
    client = request.client
    return client is not None and is_loopback(client.host) and not _is_forwarded(request)


def is_trusted(request: Request) -> bool:
    """Whether the envelope has seen a key, or the request comes from this machine.

    What comes from the very address that it goes to has left no machine, whichever address that is.
    """
    if request.state.has_key or is_local(request):
        return True
    client, server = request.client, request.scope["server"]
    is_own = client is not None and server is not None and client.host == server[0]
    return is_own and not _is_forwarded(request)


def _is_forwarded(request: Request) -> bool:
    return any(name in request.headers for name in _FORWARDED)
