"""The sum of expositions: what is added, what stays the fleet's own, what is left out."""

from collections.abc import Mapping, Sequence

import pytest
from prometheus_client.parser import text_string_to_metric_families

from servers.fleet.metrics import counted, parsed, started_s, text, total

FLEET = """\
# HELP process_start_time_seconds Start time
# TYPE process_start_time_seconds gauge
process_start_time_seconds 100.0
# HELP rag_requests_total Requests to /rag by HTTP status
# TYPE rag_requests_total counter
rag_requests_total{status="200"} 7.0
# HELP rag_requests_created Requests to /rag by HTTP status
# TYPE rag_requests_created gauge
rag_requests_created{status="200"} 1.7e+09
# HELP rag_shed_total Requests refused at the door by reason
# TYPE rag_shed_total counter
# HELP rag_queue_depth Requests waiting for a batch
# TYPE rag_queue_depth gauge
rag_queue_depth 1.0
# HELP rag_predicted_wait_seconds Wait
# TYPE rag_predicted_wait_seconds gauge
rag_predicted_wait_seconds 0.0
"""
REPLICA = """\
# HELP process_start_time_seconds Start time
# TYPE process_start_time_seconds gauge
process_start_time_seconds 200.0
# HELP rag_requests_total Requests to /rag by HTTP status
# TYPE rag_requests_total counter
rag_requests_total{status="200"} 4.0
# HELP rag_shed_total Requests refused at the door by reason
# TYPE rag_shed_total counter
rag_shed_total{reason="full"} 2.0
# HELP rag_queue_depth Requests waiting for a batch
# TYPE rag_queue_depth gauge
rag_queue_depth 3.0
# HELP rag_predicted_wait_seconds Wait
# TYPE rag_predicted_wait_seconds gauge
rag_predicted_wait_seconds 0.25
# HELP rag_batch_size Requests in a batch
# TYPE rag_batch_size histogram
rag_batch_size_bucket{le="1.0"} 1.0
rag_batch_size_bucket{le="+Inf"} 2.0
rag_batch_size_count 2.0
rag_batch_size_sum 5.0
# HELP rag_batches_total Batches by the "reason" that closed them
# TYPE rag_batches_total counter
rag_batches_total{reason="full"} 2.0
"""
OTHER = """\
# HELP rag_queue_depth Requests waiting for a batch
# TYPE rag_queue_depth gauge
rag_queue_depth 10.0
# HELP rag_predicted_wait_seconds Wait
# TYPE rag_predicted_wait_seconds gauge
rag_predicted_wait_seconds 0.125
# HELP rag_batch_size Requests in a batch
# TYPE rag_batch_size histogram
rag_batch_size_bucket{le="1.0"} 10.0
rag_batch_size_bucket{le="+Inf"} 10.0
rag_batch_size_count 10.0
rag_batch_size_sum 10.0
# HELP rag_batches_total Batches by the "reason" that closed them
# TYPE rag_batches_total counter
rag_batches_total{reason="full"} 9.0
rag_batches_total{reason="lull"} 1.0
"""


def summed(expositions: Sequence[str]) -> str:
    """As a fleet answers: its own comes first, and those of its replicas follow."""
    own, *replicas = [parsed(exposition) for exposition in expositions]
    return text(total(own, replicas))


def values(exposition: str) -> Mapping[str, float]:
    return {
        sample.name + "".join(f"|{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def test_series_of_one_name_and_labels_are_added_and_those_of_the_fleet_stay_its_own() -> None:
    assert values(summed([FLEET, REPLICA, OTHER])) == {
        "process_start_time_seconds": 100.0,
        "rag_requests_total|200": 7.0,
        "rag_queue_depth": 14.0,
        "rag_predicted_wait_seconds": 0.25,
        "rag_batch_size_bucket|1.0": 11.0,
        "rag_batch_size_bucket|+Inf": 12.0,
        "rag_batch_size_count": 12.0,
        "rag_batch_size_sum": 15.0,
        "rag_shed_total|full": 2.0,
        "rag_batches_total|full": 11.0,
        "rag_batches_total|lull": 1.0,
    }


def test_help_and_type_are_kept_and_the_times_of_creation_are_not() -> None:
    lines = summed([FLEET, REPLICA]).splitlines()
    assert '# HELP rag_batches_total Batches by the "reason" that closed them' in lines
    assert "# TYPE rag_batch_size histogram" in lines
    assert "# TYPE rag_shed_total counter" in lines
    assert not any("_created" in line for line in lines)
    assert len([line for line in lines if line.startswith("# TYPE rag_queue_depth")]) == 1


def test_one_exposition_is_its_own_sum() -> None:
    assert summed([REPLICA]) == REPLICA


def test_what_outlives_a_replica_is_what_it_counted() -> None:
    left = values(text(counted(parsed(REPLICA))))
    assert left["rag_batch_size_sum"] == 5.0
    assert not {"rag_queue_depth", "process_start_time_seconds"} & set(left)


def test_the_start_of_a_process_tells_it_from_the_next_at_its_address() -> None:
    assert started_s(parsed(REPLICA)) == 200.0
    assert started_s(parsed(OTHER)) is None


def test_what_is_no_exposition_is_refused() -> None:
    with pytest.raises(ValueError, match=r".+"):
        parsed("<html>\n<p class='x'>no such page</p>\n</html>")
