"""The line of those who wait: anybody may leave from any place, and the earliest deadline is always known."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from servers.queueing.line import LocalLine
from tests import virtual


@dataclass(eq=False)
class Waiter:
    number: int
    deadline_s: float

    @property
    def work(self) -> int:
        return 1 + self.number % 3


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "leave", "take", "pick"]), st.integers(0, 30), st.floats(0, 100)), max_size=200
)


@given(STEPS)
def test_it_is_a_list_that_knows_its_earliest_deadline(steps: list[tuple[str, int, float]]) -> None:
    line: LocalLine[Waiter] = LocalLine()
    expected: list[Waiter] = []
    for number, (what, place, deadline_s) in enumerate(steps):
        if what == "put":
            waiter = Waiter(number, deadline_s)
            line.put(waiter)
            expected.append(waiter)
        elif what == "leave" and place < len(expected):
            assert line.leave(expected[place])
            assert not line.leave(expected[place])
            del expected[place]
        elif what == "take":
            assert line.take(range(min(place, len(line)))) == expected[:place]
            del expected[:place]
        elif what == "pick" and place < len(expected):
            places = [place, 0] if place else [0]
            assert line.take(places) == [expected[each] for each in places]
            expected = [waiter for each, waiter in enumerate(expected) if each not in places]
        assert line.first(len(line)) == expected
        assert line.work == sum(waiter.work for waiter in expected)
        assert line.first(3) == expected[:3]
        if expected:
            assert line.ends() == (expected[0], expected[-1])
            assert line.earliest_deadline_s() == min(waiter.deadline_s for waiter in expected)
    assert line.take(range(len(line))) == expected
    assert len(line) == 0


def test_those_who_have_left_are_not_kept() -> None:
    line: LocalLine[Waiter] = LocalLine()
    line.put(Waiter(0, 0.0))
    for number in range(1, 10_000):
        waiter = Waiter(number, float(number))
        line.put(waiter)
        line.leave(waiter)
    assert len(line._deadlines) < 100


def test_whoever_waits_wakes_at_the_first_leave_or_stir_and_at_no_older_one() -> None:
    async def scenario() -> list[bool]:
        line: LocalLine[Waiter] = LocalLine()
        waiter = Waiter(1, 5.0)
        changes = [lambda: line.put(waiter), lambda: line.leave(waiter), line.stir]
        seen = []
        for change in changes:
            change()
            seen += [await line.wait(1.0), await line.wait(0.1)]
        return [*seen, line.leave(waiter)]

    assert virtual.run(scenario()) == [False, False, True, False, True, False, False]
