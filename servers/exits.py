"""Exit statuses of a server that mean something to whoever started it; 0 and 1 are as everywhere."""

PORT_TAKEN = 75  # sysexits.h EX_TEMPFAIL: another port may do
ENGINE_ENDED = 70  # sysexits.h EX_SOFTWARE: what runs the models ended, or can run them no more
