"""Exit statuses of a server beside 0 and 1."""

PORT_TAKEN = 75  # sysexits.h EX_TEMPFAIL: another port may do
ENGINE_ENDED = 70  # sysexits.h EX_SOFTWARE: the engine ended, or fails whatever the request
