import csv
import hashlib
import io
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragbench.study.arrivals import Span
from ragbench.study.questions import Question, load_questions
from ragbench.study.schedule import (
    Request,
    Turns,
    make_schedule,
    schedule_csv,
    sha256,
    shares,
    streams,
    warmup_questions,
)

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


@pytest.mark.parametrize("name", ["baseline-ideal-400rps-seed1", "scaled-max_batch_size=8-poisson-90rps-seed1"])
def test_the_schedules_of_the_reference_study_are_drawn_again(name):
    folder = Path(__file__).parents[3] / "results" / "reference-cpu" / name
    point = json.loads((folder / "manifest.json").read_text())["point"]
    questions = load_questions(point["questions"]).questions
    drawn = make_schedule(
        point["arrival"],
        point["offered_rps"],
        span=Span(duration_s=point["duration_s"]),
        seed=point["seed"],
        questions=questions,
    )
    assert sha256(schedule_csv(drawn)) == json.loads((folder / "manifest.json").read_text())["schedule_sha256"]


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("offset_s,output_tokens\n0,5\n1,50\n3,500\n")
    return f"trace:path={path}"


def test_a_trace_gives_each_request_its_length_up_to_the_limit(trace):
    drawn = make_schedule(trace, 2.0, span=Span(requests=3), seed=1, questions=QUESTIONS, max_new_tokens=64)
    assert [request.max_new_tokens for request in drawn] == [5, 50, 64]
    assert [request.due_s for request in drawn] == pytest.approx([0.0, 1 / 3, 1.0])
    header, first, *_ = schedule_csv(drawn).splitlines()
    assert header == "request,due_s,question,max_new_tokens"
    assert first == f"0,0.000000000,{drawn[0].question.id},5"
    assert [
        r.max_new_tokens for r in make_schedule(trace, 2.0, span=Span(requests=2), seed=1, questions=QUESTIONS)
    ] == [5, 50]


@given(st.integers(0, 60), st.integers(1, 9))
def test_shares_hold_every_request_once_and_are_equal(n, of):
    parts = shares(range(n), of=of)
    assert sorted(number for part in parts for number in part) == list(range(n))
    assert len(parts) == of
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 40))
def test_shares_of_a_closed_loop_ask_what_the_whole_asks(of, users, n):
    whole = Turns(users, Span(requests=n + 1), 3, QUESTIONS)
    parts = whole.shares(of)
    assert sum(part.own_users for part in parts) == users
    assert all(part.own_users for part in parts)
    assert sorted((pair for part in parts for pair in part.asked()), key=lambda pair: pair[0]) == list(whole.asked())


def test_a_closed_loop_never_runs_out_of_questions():
    asked = Turns(2, Span(duration_s=1.0), 3, QUESTIONS).asked()
    first = [question.id for _, question in itertools.islice(asked, 120)]
    assert set(Counter(first).values()) == {2, 3}


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
