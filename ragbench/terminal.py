"""The one door to the terminal. Text is shown as it is: nothing in it is a style, an emoji or a control sequence.

Services, paths and names bring text that nobody here wrote, so no other module of ragbench imports rich (an
import-linter contract). A style of our own is put on with `styled`. What is shown is decided by the callers.
"""

import re
from collections.abc import Iterable, Iterator
from typing import IO, Any, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.status import Status
from rich.table import Table
from rich.text import Text

__all__ = ["Bar", "Spinner", "Table", "Terminal", "Text", "plain", "styled"]

_T = TypeVar("_T")

# C0 and C1 but for tab and newline; what reverses the direction of text; surrogates, which no encoding can write.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    r"""`text` with its control characters made visible: an escape character is shown as \x1b."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def styled(text: str, style: str | None = None) -> Text:
    """`text` in one of our own styles, for a cell or a line. The text itself stays plain."""
    return Text(plain(text), style=style or "")


class Terminal(Console):
    """A console that parses nothing: every string given to it, to its tables and to their titles is plain."""

    def __init__(
        self,
        *,
        stderr: bool = False,
        file: IO[str] | None = None,
        width: int | None = None,
        force_terminal: bool | None = None,
    ) -> None:
        super().__init__(
            stderr=stderr,
            file=file,
            width=width,
            force_terminal=force_terminal,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as rich shows it. Rich calls this for every string, with switches that may turn parsing on."""
        return super().render_str(plain(text), **(options | {"markup": False, "emoji": False, "highlight": False}))


class Spinner:
    """One line that changes; nothing where `console` is no terminal."""

    def __init__(self, text: str, *, console: Terminal) -> None:
        self._status = Status(styled(text), console=console) if console.is_terminal else None

    def __enter__(self) -> Self:
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

    def show(self, text: str) -> None:
        """Show this instead."""
        if self._status:
            self._status.update(styled(text))


class Bar:
    """How many of `total` are done, and what is done now; nothing where `console` is no terminal."""

    def __init__(self, text: str, *, total: int, console: Terminal) -> None:
        self._is_shown = console.is_terminal
        self._progress = Progress(
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}", markup=False),
            TextColumn("{task.description}", markup=False),
            console=console,
            refresh_per_second=2,
            transient=True,
        )
        self._task = self._progress.add_task(plain(text), total=total)

    def __enter__(self) -> Self:
        if self._is_shown:
            self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._is_shown:
            self._progress.stop()

    def show(self, text: str) -> None:
        """Say what is done now."""
        self._progress.update(self._task, description=plain(text))

    def advance(self) -> None:
        """One more is done."""
        self._progress.advance(self._task)

    def over(self, items: Iterable[_T]) -> Iterator[_T]:
        """The same items; each counts as done when the next is asked for."""
        with self:
            for item in items:
                yield item
                self.advance()
