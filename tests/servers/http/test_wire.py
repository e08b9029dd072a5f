"""The body of an answer: what the model Answer says, made without it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from servers.http.wire import Answer, Document, Usage, served
from servers.rag.pipeline import Answered, Hit

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
COUNT = st.none() | st.integers(0, 10_000)


@given(
    query=TEXT,
    result=TEXT,
    hits=st.lists(st.builds(Hit, TEXT, TEXT, st.floats())),
    prompt_tokens=COUNT,
    completion_tokens=COUNT,
)
def test_a_body_is_the_json_of_an_answer(
    query: str, result: str, hits: list[Hit], prompt_tokens: int | None, completion_tokens: int | None
) -> None:
    answered = Answered(query, result, tuple(hits), prompt_tokens, completion_tokens, {"embed": 0.1})
    made = served(answered, model="tiny", queue_s=0.5, batch_size=2)
    is_known = prompt_tokens is not None and completion_tokens is not None
    answer = Answer(
        query=query,
        result=result,
        documents=[Document(id=hit.id, text=hit.text, score=hit.score) for hit in hits],
        model="tiny",
        usage=Usage(prompt_tokens=prompt_tokens or 0, completion_tokens=completion_tokens or 0) if is_known else None,
    )
    assert json.loads(made.body) == json.loads(answer.model_dump_json())
    assert made.stage_s == {"queue": 0.5, "embed": 0.1}
