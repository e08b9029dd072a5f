"""Fits a question's documents into its prompt, by leaving some out. Cuts no document.

Long texts are tokenised only as far as needed: a prompt with many more characters than it has room for tokens is
measured document by document, best first, each up to where it no longer fits.
"""

from collections.abc import Callable, Sequence

Form = Callable[[str, Sequence[str]], str]
Lengths = Callable[[Sequence[str]], Sequence[int]]

_CHARS_A_TOKEN = 8  # more than the mean of any text, so that longer prompts seldom fit


def fitted(form: Form, asked: Sequence[tuple[str, Sequence[str]]], rooms: Sequence[int], lengths: Lengths) -> list[str]:
    """A prompt for each question with its documents, best first; the lowest ranked that do not fit are left out.

    `rooms`: most tokens of each prompt; `lengths`: counts the tokens of texts. A question may lose all.
    """
    prompts = [form(query, texts) for query, texts in asked]
    near = [place for place, room in enumerate(rooms) if len(prompts[place]) <= _CHARS_A_TOKEN * room]
    tokens = dict(zip(near, lengths([prompts[place] for place in near]) if near else (), strict=True))
    for place, (query, texts) in enumerate(asked):
        if texts and (place not in tokens or tokens[place] > rooms[place]):
            prompts[place] = _cut(form, query, texts, rooms[place], lengths)
    return prompts


def _cut(form: Form, query: str, texts: Sequence[str], room: int, lengths: Lengths) -> str:
    """The prompt of one question with the documents that fit."""
    without, empty = lengths([form(query, ()), form("", ())])
    costs: list[int] = []
    while len(costs) < len(texts) and without + sum(costs) <= room:
        costs.append(_cost(form, texts[len(costs)], empty, room, lengths))
    kept = len(costs)
    over = without + sum(costs) - room
    while True:
        while kept and over > 0:
            kept -= 1
            over -= max(1, costs[kept])
        prompt = form(query, texts[:kept])
        if not kept:
            return prompt
        [tokens] = lengths([prompt])  # may be more than its parts, which are joined by separators
        over = tokens - room
        if over <= 0:
            return prompt


def _cost(form: Form, text: str, empty: int, room: int, lengths: Lengths) -> int:
    """Tokens that a document adds to a prompt, or any number above `room`."""
    end = _CHARS_A_TOKEN * room
    while True:
        [tokens] = lengths([form("", [text[:end]])])
        if tokens - empty > room or end >= len(text):
            return tokens - empty
        end *= 2
