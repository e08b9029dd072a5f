"""The tables of `scripts/tables.py`, a file each: TITLE, rows(report) -> a dict a row, notes(table) -> lines under it.

`report` takes a line of progress. What a table judges is a pure function of the package; here it is only repeated.
"""
