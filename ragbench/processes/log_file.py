"""The log of a server, read up to a limit."""

from pathlib import Path

MOST_LOG = 16 << 20  # bytes


def read_log(path: Path, *, since: int = 0, most: int = MOST_LOG) -> tuple[str, int]:
    """What was printed from byte `since` on, its end where that is longer than `most`. -> the text, and where it ends.

    Raises OSError.
    """
    with path.open("rb") as log:
        end = log.seek(0, 2)
        begin = max(since, end - most)
        log.seek(begin)
        text = log.read(end - begin).decode(errors="replace")
    left_out = begin - since
    return (f"[ragbench] {left_out:,} bytes before this were not kept\n{text}" if left_out > 0 else text), end
