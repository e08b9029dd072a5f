from ragbench.statistics.interval_notes import left_empty, too_short


def row(worth, *, verdict="valid", lows=(None, None, None, None)):
    ends = {f"latency_{figure}_low_s": low for figure, low in zip(("mean", "p50", "p95", "p99"), lows, strict=True)}
    return {"verdict": verdict, "independent_answers": worth, **ends}


def test_before_measuring_the_number_of_requests_says_what_stays_empty():
    assert too_short([300, 300, 2000]) == [
        "latency p95: no interval in 2 of 3 points; it needs at least 1,000 requests after the first tenth, more where "
        "a queue is busy",
        "latency p99: no interval in 3 of 3 points; it needs at least 5,000 requests after the first tenth, more where "
        "a queue is busy",
    ]
    assert too_short([100_000]) == []


def test_after_measuring_each_figure_says_by_what_factor_its_points_are_short():
    rows = [row(500.0, lows=(0.1, 0.1, None, None)), row(250.0, lows=(0.1, 0.1, None, None))]
    assert left_empty(rows) == [
        "latency p95: no interval in 2 of 2 valid points; they would have to be 2 to 4 times as long",
        "latency p99: no interval in 2 of 2 valid points; they would have to be 10 to 20 times as long",
    ]


def test_large_factors_can_be_read():
    assert left_empty([row(1.0), row(20.0)])[-1].endswith("they would have to be 250 to 5,000 times as long")


def test_points_that_are_not_valid_or_older_or_long_enough_are_not_told():
    assert left_empty([row(10.0, verdict="saturated"), row(None), {"verdict": "valid"}]) == []
    assert left_empty([row(9000.0, lows=(0.1, 0.1, 0.1, None))]) == []  # its p99 falls among the unanswered
