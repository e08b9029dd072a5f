"""Load on one service: requests sent when they are due, and a row for each. Judges no point."""
