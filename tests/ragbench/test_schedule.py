import csv
import hashlib
import io
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ragbench.arrivals import Span
from ragbench.schedule import Request, make_schedule, schedule_csv, sha256, streams, warmup_questions
from ragbench.workload import Question

QUESTIONS = tuple(Question(f"q{i}", f"query {i}") for i in range(50))


def schedule(arrival="poisson", rate=20.0, *, seed=1, n=120):
    return make_schedule(arrival, rate, span=Span(requests=n), seed=seed, questions=QUESTIONS)


@given(st.sampled_from(["ideal", "poisson"]), st.floats(1, 200), st.integers(0, 10_000), st.integers(1, 200))
def test_same_seed_same_schedule_and_nothing_lost(arrival, rate, seed, n):
    first, second = (schedule(arrival, rate, seed=seed, n=n) for _ in range(2))
    assert first == second
    assert [request.number for request in first] == list(range(n))


def test_seed_arrival_and_rate_each_change_the_draw():
    first = schedule()
    for other in (schedule(seed=2), schedule(rate=40.0), schedule("ideal")):
        assert [r.question for r in other] != [r.question for r in first]
    # at twice the rate a shared stream would give the same gaps, halved
    assert not np.allclose([r.due_s for r in schedule(rate=40.0)], [r.due_s / 2 for r in first])


def test_streams_are_independent():
    draws = [generator.random(4).tolist() for generator in streams(1, "poisson", 20.0)]
    assert len({tuple(draw) for draw in draws}) == 3


def test_the_draw_is_the_same_in_every_process_and_version():
    first = schedule(n=2)
    assert [(r.number, round(r.due_s, 6), r.question.id) for r in first] == [(0, 0.066418, "q8"), (1, 0.112555, "q26")]


def test_no_question_again_before_all_were_asked():
    asked = Counter(request.question.id for request in schedule(n=120))
    assert set(asked.values()) == {2, 3}


def test_warmup_draws_apart_from_the_load():
    warm = warmup_questions("poisson", 20.0, n=40, seed=1, questions=QUESTIONS)
    assert len(warm) == 40
    assert warm != [request.question for request in schedule(n=40)]


def test_schedule_csv_is_what_is_hashed():
    requests = (Request(0, 0.0, Question("a,b", "?")), Request(1, 1 / 3, Question('say "x"', "?")))
    text = schedule_csv(requests)
    assert text == 'request,due_s,question\n0,0.000000000,"a,b"\n1,0.333333333,"say ""x"""\n'
    assert [row["question"] for row in csv.DictReader(io.StringIO(text))] == ["a,b", 'say "x"']
    assert sha256(text) == hashlib.sha256(text.encode()).hexdigest()
