import math

import numpy as np
import pytest

from ragbench.results.slo import Slo, parse_slo


def test_an_slo_reads_and_writes_as_a_table():
    slo = Slo.of({"latency_p95_s": 1.0, "latency_s": 2, "attainment": 0.9})
    assert slo.as_dict() == {"latency_p95_s": 1.0, "latency_s": 2, "attainment": 0.9}
    assert Slo.of(slo.as_dict()) == slo == parse_slo(["latency_p95_s=1.0", "latency_s=2", "attainment=0.9"])
    assert Slo.of({"latency_p99_s": 3}).as_dict() == {"latency_p99_s": 3, "attainment": 0.95}
    assert str(slo) == "latency_p95_s <= 1, latency_s <= 2 for 90% of requests"


@pytest.mark.parametrize(
    ("limits", "limit_s"),
    [
        ({"latency_s": 0.5, "latency_p99_s": 2.0}, 0.5),
        ({"latency_p50_s": 0.5, "latency_p95_s": 2.0, "latency_mean_s": 9.0}, 2.0),
        ({"latency_mean_s": 1.0}, math.inf),
    ],
)
def test_the_limit_for_one_request(limits, limit_s):
    assert Slo(limits).limit_s == limit_s


@pytest.mark.parametrize(
    ("limits", "is_met"),
    [
        ({"latency_p50_s": 0.5}, True),
        ({"latency_p50_s": 0.49}, False),
        ({"latency_p95_s": 0.951}, True),  # of 0.00, 0.01 .. 1.00: exactly 0.95
        ({"latency_p95_s": 0.949}, False),
        ({"latency_mean_s": 0.501}, True),
        ({"latency_mean_s": 0.499}, False),
        ({"latency_s": 0.95}, True),  # 96 of 101
        ({"latency_s": 0.94}, False),  # 95 of 101
        ({"latency_p50_s": 0.6, "latency_p99_s": 0.5}, False),
    ],
)
def test_every_limit_must_hold(limits, is_met):
    assert Slo(limits).met(np.arange(101) / 100) is is_met


def test_an_unanswered_request_is_slower_than_any_limit():
    some = [0.1] * 95 + [math.inf] * 5
    assert Slo({"latency_p90_s": 0.2}).met(some)
    assert not Slo({"latency_p95_s": 1e6}).met(some)
    assert not Slo({"latency_mean_s": 1e6}).met(some)
    assert Slo({"latency_s": 0.2}).met(some)
    assert not Slo({"latency_s": 0.2}, attainment=0.96).met(some)
    assert not Slo({"latency_p50_s": 1.0}).met([math.inf] * 4)
    assert not Slo({"latency_p50_s": 1.0}).met([])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"latency_p96_s": 1.0}, "unknown slo 'latency_p96_s'; known: latency_s, latency_mean_s, latency_p50_s"),
        ({"latency_s": 0}, "slo latency_s must be a number of seconds > 0, got 0"),
        ({"latency_s": "fast"}, "got 'fast'"),
        ({"latency_s": True}, "got True"),
        ({"latency_s": math.nan}, "got nan"),
        ({"latency_s": 1.0, "attainment": 1.5}, "attainment must be a share above 0, up to 1, got 1.5"),
        ({}, "an slo needs a limit; known: latency_s"),
    ],
)
def test_mistakes_are_told_with_the_names_there_are(table, message):
    with pytest.raises(ValueError, match=message):
        Slo.of(table)


def test_options_that_are_no_slo_are_refused():
    assert parse_slo([]) is None
    with pytest.raises(ValueError, match=r"looks like latency_p95_s=1\.0, got 'latency_p95_s'"):
        parse_slo(["latency_p95_s"])
    with pytest.raises(ValueError, match="latency_s is given twice"):
        parse_slo(["latency_s=1", "latency_s=2"])
