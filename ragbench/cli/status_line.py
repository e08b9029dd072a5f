"""What a long command does now, as one line of the terminal that changes; nothing where there is no terminal."""

from ragbench.cli.common import say, terminal
from ragbench.terminal import Spinner

__all__ = ["StatusLine"]

_EVERY = 20  # requests between two changes of the line


class StatusLine(Spinner):
    """A context manager: the line is there for as long as the block runs."""

    def __init__(self, text: str = "getting ready") -> None:
        super().__init__(text, console=terminal)
        self._what = ""
        self._rows = 0

    def begin(self, what: str) -> None:
        """Something begins, of which requests will be counted."""
        self._what, self._rows = what, 0
        self.show(what)

    def count(self) -> None:
        """One request of it has ended."""
        self._rows += 1
        if self._rows % _EVERY == 0:
            self.show(f"{self._what} | {self._rows} requests")

    def tell(self, text: str) -> None:
        """Show this, or say it as a line where nobody would see it."""
        self.show(text)
        if not self.is_shown:
            say(text)
