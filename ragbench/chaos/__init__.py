"""What a fleet loses when something breaks: load, a fault by pid or port, and a count of what became of each request.

The fleet is a black box: a command line, a ready line, HTTP, process ids and logs. One experiment gives one row:

- `sent`: requests that left this client; each is one of answered, rejected and lost.
- `answered`: 200, with the request's own id and the right body (the stub pipeline answers each question with itself).
- `rejected`: 429 or 503 with `Retry-After`, or 504: a clear refusal, which is not lost.
- `lost`: neither: no connection, reset, cut off, a wrong body, any other status, or nothing within the timeout.
- `refused`: tries that found no listener. The client tries again with the same id until its timeout, as a
  well-behaved one does, so that a refused try is lost only where none of the later ones gets through.
- `retried`: `rag_retries_total` of the fleet, after less before.
- `duplicated`: request ids that replicas answered with 200 more than once, by their access logs.
- `late`: answered, but more than `--late-s` after being due.
- `recovery_s`: see recovery.py. Absent: it did not recover, or there was no fault to recover from.
- `orphans`: processes of the fleet, found while it ran, which still run 2 s after it ended or 15 s after SIGTERM.
"""
