"""One size and seed, one corpus; every question has its gold document; held-out entities are held out."""

import json
from collections import Counter
from pathlib import Path

import pytest

from servers.rag.corpus import facts, lexicon

SHIPPED = Path(__file__).parents[4] / "ragbench" / "questions" / "facts.jsonl"


@pytest.fixture(scope="module")
def corpus() -> list[facts.Fact]:
    return facts.facts()


def test_a_known_fact_and_question_of_the_default_corpus(corpus):
    assert corpus[3].id == "f00003"
    assert corpus[3].text == "Jori Foststrom plays the oboe."
    assert facts.questions(corpus, 1) == [
        facts.Question("q00000", "What is the profession of Yareth Brenridge?", ("waiter",), ("f03077",))
    ]
    assert corpus[3077].entity == "Yareth Brenridge"


@pytest.mark.slow
@pytest.mark.parametrize("n", [24, 25, 29, 1000, 10_000, 60_000, 250_000])
def test_a_corpus_has_the_size_asked_for_and_ids_in_order(n):
    corpus = facts.facts(n, seed=1)
    assert [fact.id for fact in corpus] == [f"f{number:05d}" for number in range(n)]
    assert len({(fact.entity, fact.relation) for fact in corpus}) == n


def test_same_seed_same_corpus_and_another_seed_another():
    assert facts.facts(500, seed=3) == facts.facts(500, seed=3)
    assert facts.facts(500, seed=3) != facts.facts(500, seed=4)


@pytest.mark.parametrize("n", [0, 23])
def test_a_size_that_is_too_small_is_refused(n):
    with pytest.raises(ValueError, match=rf"holds 24 facts at least, got {n}"):
        facts.facts(n)


@pytest.mark.slow
def test_names_that_run_out_begin_again_with_a_number():
    small, large = (facts.facts(n, seed=2) for n in (90_000, 90_200))
    assert not any(fact.entity[-1].isdigit() for fact in small)
    numbered = [fact for fact in large if fact.entity[-1].isdigit()]
    assert numbered
    assert all(fact.entity.endswith(" 2") and fact.entity in fact.text for fact in numbered)


def test_every_fact_names_its_subject_before_its_value(corpus):
    for fact in corpus:
        assert fact.text.endswith(".")
        assert 0 <= fact.text.index(fact.entity) < fact.text.index(fact.answer)


def test_every_kind_of_entity_and_every_relation_occurs(corpus):
    relations = {name for kind in facts.RELATIONS.values() for name in kind} | {"animal"}
    assert {fact.relation for fact in corpus} == relations
    entities = Counter(len(fact.entity.split()) for fact in corpus if fact.relation == "birthplace")
    assert entities.keys() == {2}
    assert 1150 < sum(entities.values()) < 1250


def test_hummingbirds_hover(corpus):
    (fact,) = [fact for fact in corpus if fact.entity == "hover in the air"]
    assert fact.answer == "hummingbirds"
    assert "Which animals can hover in the air?" in [
        wording.format(s=fact.entity) for wording in facts.relation_of(fact).questions
    ]


def test_about_a_fifth_of_the_entities_is_held_out_and_no_animal_is(corpus):
    entities = {fact.entity for fact in corpus}
    assert 0.17 < sum(facts.is_held_out(entity) for entity in entities) / len(entities) < 0.23
    assert not any(facts.is_held_out(entity) for entity in lexicon.ANIMALS)


def test_questions_ask_for_held_out_facts_only_and_name_gold(corpus):
    by_id = {fact.id: fact for fact in corpus}
    asked = facts.questions(corpus, 4000, seed=5)
    assert len({question.query for question in asked}) == len(asked)
    for question in asked:
        fact = by_id[question.documents[0]]
        assert facts.is_held_out(fact.entity)
        assert fact.entity in question.query
        assert question.answers == (fact.answer,)


def test_no_fact_is_asked_twice_before_every_held_out_fact_was_asked_once(corpus):
    held_out = sum(facts.is_held_out(fact.entity) for fact in corpus)
    asked = facts.questions(corpus, held_out)
    assert len({question.documents for question in asked}) == held_out


def test_more_questions_than_the_corpus_holds_are_refused():
    with pytest.raises(ValueError, match="this corpus of 24 facts gives 0 held-out questions, wanted 1"):
        facts.questions(facts.facts(24), 1)


def test_the_shipped_questions_are_what_the_command_prints(capsys):
    facts.main(["questions", "--count", "2000", "--seed", "0"])
    assert SHIPPED.read_text(encoding="utf-8") == capsys.readouterr().out


def test_the_corpus_command_prints_json_lines(capsys):
    facts.main(["corpus", "--size", "30", "--seed", "7"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == [{"id": fact.id, "text": fact.text} for fact in facts.facts(30, seed=7)]


def test_no_word_serves_two_purposes():
    groups = [words for name, words in vars(lexicon).items() if name.isupper() and isinstance(words, tuple)]
    times = Counter(word.lower() for words in groups for word in words)
    assert [word for word, count in times.items() if count > 1] == []
