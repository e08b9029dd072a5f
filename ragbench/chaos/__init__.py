"""Chaos experiments: a fleet under load, a fault injected by pid or port, and a count of what became of each request.

The fleet is a black box: a command line, a ready line, HTTP, process ids and logs. One experiment gives one row:

- `sent`: requests that left this client; each is answered, rejected or lost.
- `answered`: 200, with the request's own id and the right body (the stub pipeline answers each question with itself).
- `rejected`: 429 or 503 with `Retry-After`, or 504: a clear refusal, which is not lost.
- `lost`: all others: no connection, reset, cut off, a wrong body, any other status, or nothing within the timeout.
- `refused`: tries that found no listener. The client tries again with the same id until its timeout, so that a request
  is lost only where every try fails.
- `retried`: growth of the fleet's `rag_retries_total`.
- `duplicated`: request ids that replicas answered with 200 more than once, by their access logs.
- `late`: answered, but more than `--late-s` after being due.
- `recovery_s`: the longest time from a fault until requests are well served again (outcome.py). Absent: the fleet did
  not recover, or there was no fault.
- `orphans`: processes of the fleet that still run 2 s after it ended, or 15 s after SIGTERM.
"""
