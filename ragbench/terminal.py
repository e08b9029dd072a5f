"""The only module that writes to the terminal. Text is plain: styles, emoji and control sequences in it do nothing.

Services, paths and names bring text of unknown origin, so no other module of ragbench imports rich (an import-linter
contract). `styled` puts one of our own styles on a text.
"""

import io
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Self, TypeVar

from rich import box, table
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column
from rich.text import Text

__all__ = ["Status", "Table", "Terminal", "Text", "minutes", "plain", "right", "say", "styled", "tolerate"]

EVERY_S = 10.0  # between two lines in a log
_BLINK_S = 0.25  # between two changes of the line on a terminal, while requests are counted

_T = TypeVar("_T")

# C0 and C1 but for tab and newline; what reverses the direction of text; surrogates, which no encoding can write.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    r"""`text` with its control characters made visible: an escape character is shown as \x1b."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def say(line: str) -> None:
    """Print a line on stderr."""
    print(plain(line), file=sys.stderr, flush=True)


def styled(text: str, style: str | None = None) -> Text:
    """`text` in one of our own styles, for a cell or a line. The text itself stays plain."""
    return Text(plain(text), style=style or "")


def right(*names: str) -> list[Column]:
    """Columns of figures, for a table: their cells end where the column does."""
    return [Column(name, justify="right") for name in names]


class Table(table.Table):
    """A table without lines between its columns. Where it has no room for whole words, they are folded, not cut off."""

    def __init__(self, *columns: Column | str, **options: Any) -> None:
        super().__init__(*columns, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, **options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.__rich_measure__(console, options).minimum > options.max_width:
            for column in self.columns:
                column.min_width, column.no_wrap = None, False
        yield from super().__rich_console__(console, options)


def tolerate(stream: IO[str]) -> None:
    r"""Let `stream` show what its encoding cannot write as \u2192, where it would raise UnicodeEncodeError."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


class Terminal(Console):
    """A console that parses nothing: every string given to it, to its tables and to their titles is plain."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, markup=False, emoji=False, highlight=False)

    def print_line(self, text: str) -> None:
        """Print a line, which the terminal may wrap."""
        self.print(text, soft_wrap=True)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as rich shows it. Rich calls this for every string, with switches that may turn parsing on."""
        return super().render_str(plain(text), **(options | {"markup": False, "emoji": False, "highlight": False}))


def minutes(seconds: float) -> str:
    """A duration to read: 45 s, 2 min 06 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Status:
    """How long work goes: `[2/7] the step | what it does | 41.2 ok/s, 3 errors | 2 min 06 s left`, on stderr.

    On a terminal a bar and this line, which changes; elsewhere it is printed when a step begins and then once in
    EVERY_S at most. `total` of the steps, and `left_s`, which gives the time left, are absent where nobody knows them.
    """

    def __init__(
        self,
        text: str = "getting ready",
        *,
        total: int | None = None,
        left_s: Callable[[], float] | None = None,
        console: Terminal | None = None,
    ) -> None:
        self._console = console or Terminal(stderr=True)
        self._total = total
        self._left_s = left_s
        self._over = self._ok = self._errors = 0
        self._step = ""
        self._doing = text
        self._began_s = self._shown_s = time.monotonic()
        self._said_s = -EVERY_S
        columns = BarColumn(bar_width=20), TextColumn("{task.description}", markup=False)
        self._bar = Progress(*columns, console=self._console, refresh_per_second=2, transient=True)
        self._task = self._bar.add_task(plain(self._line()), total=total)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def begin(self, step: str) -> None:
        """A step begins; with it the one before is done."""
        if self._step:
            self.done()
        self._step, self._doing = step, ""
        self._began_s = time.monotonic()
        self._show()

    def doing(self, text: str) -> None:
        """What is done now, in a step or between two."""
        self._doing = text
        if self._console.is_terminal or (self._step and time.monotonic() - self._said_s >= EVERY_S):
            self._said_s = time.monotonic()
            self._show()

    def count(self, *, is_ok: bool) -> None:
        """A request of the step is over."""
        self._ok += is_ok
        self._errors += not is_ok
        if time.monotonic() - self._shown_s >= (_BLINK_S if self._console.is_terminal else EVERY_S):
            self._show()

    def done(self, text: str | None = None) -> None:
        """A step is done, begun or not; `text` on it is kept as a line."""
        self._over += 1
        if text is not None:
            self.note(f"[{self._place(self._over)}] {text}")
        if self._step:
            self._step = self._doing = ""
            self._ok = self._errors = 0
        if self._console.is_terminal:
            self._show()

    def note(self, text: str) -> None:
        """A line to keep."""
        self._console.print_line(text)

    def over(self, items: Iterable[_T]) -> Iterator[_T]:
        """The same items; each counts as done when the next is asked for."""
        with self:
            for item in items:
                yield item
                self.done()

    def _show(self) -> None:
        self._shown_s = time.monotonic()
        if self._console.is_terminal:
            self._bar.update(self._task, description=plain(self._line()), completed=self._over)
        else:
            self.note(self._line())

    def _line(self) -> str:
        known = self._step or self._total is not None
        place = f"[{self._place(self._over + bool(self._step))}] " if known else ""
        parts = [f"{place}{self._step or self._doing}", self._doing if self._step else ""]
        if self._ok or self._errors:
            rate = self._ok / max(0.1, time.monotonic() - self._began_s)
            parts.append(f"{rate:.1f} ok/s, {self._errors} errors")
        if self._step and self._left_s is not None:
            parts.append(f"{minutes(self._left_s())} left")
        return " | ".join(filter(None, parts))

    def _place(self, number: int) -> str:
        return str(number) if self._total is None else f"{number}/{self._total}"
