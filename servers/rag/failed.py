"""Why a question has no answer: the failure is its own, and its neighbours in the batch have theirs. Raises nothing."""

from typing import Literal, NamedTuple

__all__ = ["Failed"]


class Failed(NamedTuple):
    """In the place of an answer.

    `kind`: `invalid`, the model server refused what was asked; `busy`, it wants us to come back `retry_after_s` later;
    `upstream`, it failed; `internal`, our pipeline raised. `text` is for the client, unless it is internal.
    """

    kind: Literal["invalid", "busy", "upstream", "internal"]
    text: str
    retry_after_s: int | None = None
