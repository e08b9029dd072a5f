"""Who may ask: bearer keys in a request, and which settings are secrets. Answers nobody."""

import hmac
from collections.abc import Sequence

__all__ = ["KEY_PATTERN", "bears", "is_secret"]

KEY_PATTERN = r"^[!-~]+$"
"""What a header can carry, and at least one letter of it: an empty key would keep nobody out."""


def bears(authorization: str, keys: Sequence[str]) -> bool:
    """Whether that header carries one of the keys. Takes as long for a near miss as for a far one."""
    scheme, _, given = authorization.partition(" ")
    # All are compared, in Latin-1, of which a header's bytes are made.
    fits = [hmac.compare_digest(given.strip().encode("latin-1"), key.encode()) for key in keys]
    return scheme.lower() == "bearer" and any(fits)


def is_secret(setting: str) -> bool:
    """Whether a setting of that name is told to nobody: by no route, on no command line, in no error."""
    return setting.endswith(("_key", "_token"))
