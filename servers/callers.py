"""Who asks: somebody with a key or on this machine, who may see everything, or a stranger. Answers nobody."""

from starlette.requests import Request

from servers.addresses import is_loopback

__all__ = ["is_trusted"]


def is_trusted(request: Request) -> bool:
    """Whether the envelope has seen a key, or the request comes from this machine.

    What comes from the very address that it goes to has left no machine, whichever address that is.
    """
    if request.state.has_key:
        return True
    client, server = request.client, request.scope["server"]
    return client is not None and (is_loopback(client.host) or (server is not None and client.host == server[0]))
