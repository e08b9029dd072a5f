"""What a text of a corpus must be: no longer than allowed, and one that UTF-8 can write. Reads no file."""

__all__ = ["too_long", "unwritable"]


def unwritable(text: str) -> str | None:
    """What is wrong with a text that no answer could hold: JSON's escapes can name half a letter (a surrogate)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"holds {text[error.start]!r} at character {error.start}, which UTF-8 cannot write"
    return None


def too_long(text: str, max_chars: int | None) -> str | None:
    """What is wrong with a document's text of more than `max_chars` characters."""
    if max_chars is None or len(text) <= max_chars:
        return None
    return f"has {len(text)} characters, --max-document-chars allows {max_chars}"
