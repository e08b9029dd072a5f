"""What is to be measured: study files, points, arrivals, schedules, questions. Measures nothing."""
