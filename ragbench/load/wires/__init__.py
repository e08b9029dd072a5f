"""Wires: the protocols of services. A wire is a file of this folder and a line of WIRES; the client knows no other."""

from collections.abc import Mapping
from typing import Any, Protocol

from ragbench.files.toml_tables import StudyError
from ragbench.load.answer import Answer
from ragbench.load.target import Target
from ragbench.load.wires import rag
from ragbench.study.questions import Question
from ragbench.study.schedule import Request


class Wire(Protocol):
    """How a question becomes the body of a POST, and an answer the fields of a row. A module is one."""

    path: str
    """What is behind the service's address."""

    def body(self, request: Request, target: Target) -> bytes:
        """The JSON to send."""

    def read(self, answer: Answer, question: Question) -> dict[str, Any]:
        """The fields of a row that a 200 decides: `status` ok or bad_answer, and what is known of the answer."""


WIRES: Mapping[str, Wire] = {"rag": rag}


def wire_of(name: str) -> Wire:
    """The wire of that name. Raises StudyError."""
    if name not in WIRES:
        raise StudyError([f"wire must be one of {', '.join(WIRES)}, got {name!r}"])
    return WIRES[name]
