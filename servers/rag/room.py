"""How many of a question's documents its prompt has room for. Runs no model, and cuts no document.

Tokens are counted no further than they can matter: what has several times as many characters as there is room for
tokens is looked at document by document, best first, each only as far as it takes to see that it does not fit.
"""

from collections.abc import Callable, Sequence

Form = Callable[[str, Sequence[str]], str]
Lengths = Callable[[Sequence[str]], Sequence[int]]

_CHARS_A_TOKEN = 8  # more than a text of any length has in the mean, so that what is longer seldom fits


def fitted(form: Form, asked: Sequence[tuple[str, Sequence[str]]], rooms: Sequence[int], lengths: Lengths) -> list[str]:
    """A prompt for each question with its documents, best first; the lowest ranked that do not fit are left out.

    `rooms` are the tokens that each prompt may have; `lengths` counts those of texts. A question that fits with no
    document is asked without one.
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
        [whole] = lengths([prompt])  # more than its parts where they are joined by something
        over = whole - room
        if over <= 0:
            return prompt


def _cost(form: Form, text: str, empty: int, room: int, lengths: Lengths) -> int:
    """The tokens that a document adds to a prompt, or some number above `room`."""
    end = _CHARS_A_TOKEN * room
    while True:
        [tokens] = lengths([form("", [text[:end]])])
        if tokens - empty > room or end >= len(text):
            return tokens - empty
        end *= 2
