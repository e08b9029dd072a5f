from ragbench.chaos.experiment import calm_s, repeated_s


def test_faults_leave_time_before_between_and_after():
    assert calm_s(30.0) == 10.0
    assert repeated_s(calm_s(30.0), 30.0) == [10.0, 20.0]
    assert repeated_s(calm_s(60.0), 60.0) == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert repeated_s(calm_s(6.0), 6.0) == [2.0, 4.0]
