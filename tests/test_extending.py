"""The examples of docs/extending.md do what the recipes say: each is run as the file that it would be."""

import re
import runpy
from pathlib import Path
from random import Random

import pytest

from policies.batching import Close, Queue
from ragbench.load.answer import Answer
from ragbench.load.target import Target
from ragbench.study.questions import Question
from ragbench.study.schedule import Request
from servers.settings import Settings
from tests.servers.rag.generating import generate

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
DESIGN, POLICY, WIRE, BACKEND = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
IN_BATCHING = "from dataclasses import dataclass\nfrom policies.batching import Close, Queue, Wait, Bounds\n"


def names_of(text, folder):
    file = folder / "example.py"
    file.write_text(text, encoding="utf-8")
    return runpy.run_path(str(file))


def test_the_design_is_one(tmp_path):
    made = names_of(DESIGN, tmp_path)
    assert issubclass(made["SETTINGS"], Settings)
    design = made["create"](made["SETTINGS"]())
    assert all(callable(getattr(design, name)) for name in ("start", "stop", "info", "mount"))


def test_the_policy_is_one(tmp_path):
    policy = names_of(IN_BATCHING + POLICY, tmp_path)["Greedy"](max_batch_size=4, max_wait_s=0.5)
    assert policy.decide(Queue(1, 0.0, 0.0), 1.0) == Close(1, "greedy")
    assert policy.decide(Queue(9, 0.0, 0.0), 1.0) == Close(4, "greedy")


@pytest.mark.parametrize(
    ("vector", "status"),
    [("[1, 2.5]", "ok"), ("[]", "bad_answer"), ("[true]", "bad_answer"), (f"[1{'0' * 400}]", "bad_answer")],
)
def test_the_wire_is_one(tmp_path, vector, status):
    wire = names_of(WIRE, tmp_path)
    question = Question("q", "Where?", ("Kalvo",), ("d1",))
    assert wire["path"] == "/v1/embeddings"
    assert b"Where?" in wire["body"](Request(1, 0.0, question), Target("http://x", 1.0))
    told = wire["read"](Answer(200, {}, f'{{"data": [{{"embedding": {vector}}}]}}'.encode()), question)
    assert told["status"] == status


def test_the_backend_is_one(tmp_path):
    generator = names_of(BACKEND, tmp_path)["build"](None, None, device="cpu", dtype=None)
    prompts = [" ".join(str(Random(n).random()) for _ in range(n)) for n in (0, 1, 5)]
    assert [answer.completion_tokens for answer in generate(generator, prompts, [3, 3, 3])] == [1, 1, 3]
