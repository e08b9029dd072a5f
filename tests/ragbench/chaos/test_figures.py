import pytest

from ragbench.chaos.experiment import Experiment, Terms
from ragbench.chaos.figures import goodput_share, memory_slope_mib_per_min, retry_after_ratios
from ragbench.chaos.fleet import Footprint
from tests.ragbench.chaos.exchanges import exchange

REFUSED = {"status": "rejected", "http_status": 429, "retry_after_s": 1.0}


def test_memory_slope_is_that_of_the_second_half():
    grown = [Footprint(t, 500.0 if t < 10 else 500.0 + 0.1 * t, 40) for t in range(20)]
    assert memory_slope_mib_per_min(grown) == pytest.approx(6.0)
    assert memory_slope_mib_per_min(grown[:4]) is None


def test_retry_after_is_held_against_the_wait_of_whoever_was_let_in_last():
    exchanges = [
        exchange(1.0, **REFUSED),
        exchange(1.2, took_s=0.5),
        exchange(1.3, took_s=2.0),
        exchange(1.4, **REFUSED),
    ]
    assert retry_after_ratios(exchanges) == pytest.approx([0.5])
    assert retry_after_ratios([exchange(1.0, **REFUSED)]) == []


def test_goodput_counts_answers_in_time_of_the_overload_alone():
    own = [exchange(0.5), exchange(2.0), exchange(3.0, took_s=2.0)]
    crowd = [exchange(2.5), exchange(2.6, **REFUSED)]
    experiment = Experiment(None, Terms((), (), (), late_s=1.0), None, 4.0, None, None)
    experiment.exchanges, experiment.crowd, experiment.crowd_s = own, crowd, (1.0, 5.0)
    assert goodput_share(experiment) == pytest.approx(2 / 4 / 4)
