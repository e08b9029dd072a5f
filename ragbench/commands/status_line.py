"""What a long command does now, as one line of the terminal that changes; nothing where there is no terminal."""

from rich.status import Status

from ragbench.commands.common import terminal

__all__ = ["StatusLine"]

_EVERY = 20  # requests between two changes of the line


class StatusLine:
    """A context manager: the line is there for as long as the block runs."""

    def __init__(self) -> None:
        self._status = Status("getting ready", console=terminal) if terminal.is_terminal else None
        self._what = ""
        self._rows = 0

    def __enter__(self) -> "StatusLine":
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._status:
            self._status.stop()

    @property
    def is_shown(self) -> bool:
        """Whether anybody sees it."""
        return self._status is not None

    def begin(self, what: str) -> None:
        """Something begins, of which requests will be counted."""
        self._what, self._rows = what, 0
        self.show(what)

    def count(self) -> None:
        """One request of it has ended."""
        self._rows += 1
        if self._rows % _EVERY == 0:
            self.show(f"{self._what} | {self._rows} requests")

    def show(self, text: str) -> None:
        """Say that."""
        if self._status:
            self._status.update(text)
