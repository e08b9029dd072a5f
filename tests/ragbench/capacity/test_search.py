import math

import numpy as np
import pytest

from ragbench.capacity.load import Load
from ragbench.capacity.search import Search

LATE = {"reason": "client_limited: sent late", "is_service": False}


def load(rate, burn, **more):
    return Load(rate, 1000, burn, **({"reason": "too slow"} | more if burn > 1 else {}))


def searched(burns, *, start=10.0, limit=200, **options):
    """Run a search against a service that uses `burns(rate)` of its SLO. -> (the ended search, rates in order)."""
    search = Search(start, **options)
    while (rate := search.next_rps) is not None:
        assert len(search.loads) < limit
        search = search.after(load(rate, burns(rate)))
    return search, [load.rate_rps for load in search.loads]


def step(capacity):
    """A service that never wavers."""
    return lambda rate: 0.0 if rate <= capacity else 20.0


def wavering(capacity, *, seed, spread=1.0):
    """Burn rates as a queue's: 1 at the capacity on average, e times that 5% above, each off by chance."""
    rng = np.random.default_rng(seed)

    def burns(rate):
        mean = math.exp(min(3.0, 20 * math.log(rate / capacity)))
        return min(20.0, mean * rng.gamma(1 / spread, spread))

    return burns


@pytest.mark.parametrize("capacity", [0.7, 9.9, 10.0, 37.3, 100.0, 99_999.0])
@pytest.mark.parametrize("tolerance", [0.04, 0.1, 0.3])
def test_the_bracket_holds_the_capacity_and_is_narrow_enough(capacity, tolerance):
    found = searched(step(capacity), tolerance=tolerance, most_loads=60)[0].found()
    assert found.low_rps <= capacity <= found.high_rps
    assert found.high_rps / found.low_rps - 1 <= tolerance
    assert found.capacity_rps == pytest.approx(capacity, rel=tolerance / 2)
    assert found.resolved


def test_it_doubles_then_halves_the_bracket_geometrically():
    _, rates = searched(step(50), tolerance=0.2)
    assert rates[:8] == [10, 20, 40, 80, 56.57, 47.57, 51.88, 49.68]


def test_below_the_start_it_halves():
    _, rates = searched(step(3), tolerance=0.5)
    assert rates[:4] == [10, 5, 2.5, 3.536]


def test_a_service_that_never_wavers_takes_few_loads():
    _, rates = searched(step(100), start=50)
    assert len(rates) <= 12


@pytest.mark.parametrize("seed", range(5))
def test_loads_that_agree_by_luck_do_not_end_it(seed):
    """Where loads waver, the bracket is no narrower than they do, however narrowly some of them bracket the edge."""
    search, _ = searched(wavering(100, seed=seed, spread=2.0), start=60, most_loads=80)
    found = search.found()
    assert len(search.loads) >= 15
    edge = search.edge
    assert found.low_rps <= edge.low_rps < edge.high_rps <= found.high_rps


def test_the_bracket_holds_a_wavering_edge_and_the_mean_is_unbiased():
    found = [searched(wavering(100, seed=seed), start=60, most_loads=60)[0].found() for seed in range(20)]
    assert sum(one.low_rps <= 100 <= one.high_rps for one in found) >= 17
    assert np.mean([one.capacity_rps for one in found]) == pytest.approx(100, rel=0.02)


def test_the_bias_of_short_loads_lowers_the_low_end():
    told = [load(80, 0.0), load(88, 0.1), load(90, 0.2), load(100, 2.5), load(110, 8.0)]
    plain = Search(80, loads=tuple(told)).bracket
    allowed = Search(80, bias=0.05, loads=tuple(told)).bracket
    assert allowed == pytest.approx((0.95 * plain[0], plain[1]))


def test_what_never_passes_ends_unresolved():
    search, rates = searched(lambda rate: 5.0, most_loads=99)
    assert min(rates) == pytest.approx(10 / 2**10, rel=1e-3)
    found = search.found()
    assert (found.resolved, found.low_rps, found.capacity_rps) == (False, None, None)
    assert found.reason == f"no rate kept the SLO, down to {min(rates):g}/s (too slow)"


def test_what_never_fails_ends_unresolved_after_its_loads():
    search, rates = searched(lambda rate: 0.0, most_loads=5)
    assert rates == [10, 20, 40, 80, 160]
    assert search.found().reason == "no rate broke the SLO, up to 160/s after 5 loads"


def test_too_few_loads_leave_a_wide_bracket_unresolved():
    found = searched(step(100), most_loads=6)[0].found()
    assert not found.resolved
    assert found.reason == "bracket 41.4% wide after 6 loads: wider than 10%, or too few to say"


def test_a_load_that_was_not_sent_resolves_nothing():
    search = Search(10, tolerance=1.0).after(load(10, 0.0)).after(load(20, 20.0, **LATE))
    assert search.next_rps is None
    assert search.found().reason == "at 20/s the load failed, not the service: client_limited: sent late"
    assert not search.found().resolved


def test_a_load_that_was_not_sent_does_not_hide_what_the_service_did():
    search = Search(10).after(load(10, 0.0)).after(load(14, 20.0, **LATE)).after(load(20, 20.0))
    assert (search.kept_rps, search.broken_rps) == (10, 20)
