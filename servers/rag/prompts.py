"""How a question and its documents become a prompt. Retrieves nothing and runs no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def short(question: str, documents: Sequence[str]) -> str:
    """One line per document, the best one next to the question: the form on which the tiny reader was trained.

    `documents` come best first. Small models make best use of what stands next to the question.
    """
    return "\n".join([*reversed(documents), f"Question: {question}", "Answer:"])


def plain(question: str, documents: Sequence[str]) -> str:
    """For models that only continue text: the documents as a list, the question, and the start of an answer."""
    context = "\n".join(f"- {document}" for document in documents)
    return f"Answer the question from the context.\n\nContext:\n{context}\n\nQuestion: {question}\nAnswer:"


def chatml(question: str, documents: Sequence[str]) -> str:
    """For chat models with ChatML turns (Qwen2.5's template): one user turn, the assistant's turn opened."""
    context = "\n".join(f"- {document}" for document in documents)
    turn = f"Answer in a few words from the context alone.\n\nContext:\n{context}\n\nQuestion: {question}"
    return f"<|im_start|>user\n{turn}<|im_end|>\n<|im_start|>assistant\n"


PROMPTS: dict[str, Callable[[str, Sequence[str]], str]] = {"short": short, "plain": plain, "chatml": chatml}
