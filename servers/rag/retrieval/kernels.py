"""Compiled loops of exact search on a CPU: keys of query and vector that reach a floor are told, all others forgotten.

Chooses no blocks and no threads. Four queries meet three rows at a time: twelve sums grow side by side in registers
from seven loads, are compared there, and no matrix of keys is ever written.
"""

import numpy as np
from numba import njit, uintp

__all__ = ["METRIC_CODES", "scan"]

METRIC_CODES = {"ip": 0, "cosine": 1, "l2": 2, "l1": 3}
_COSINE, _L2, _L1 = METRIC_CODES["cosine"], METRIC_CODES["l2"], METRIC_CODES["l1"]
_NUMBERS = 5000  # of a tile of rows: they stay in the first cache while every query meets them
_FAST = {"reassoc", "contract", "nsz"}  # not nnan and ninf: floors are infinite at first

# Unsigned places: a signed one may be negative, which in Python counts from the end, and the check for that keeps LLVM
# from making vectors of the loop.


@njit(nogil=True, cache=True, fastmath=_FAST)
def scan(metric, queries, rows, scales, floor, out_queries, out_rows, out_keys):  # type: ignore[no-untyped-def]
    """Pairs whose key reaches the query's floor. -> how many; where there was not room for so many, not all were kept.

    queries (q, d) f32, rows (n, d) f32, scales (n,) f32 (read for cosine alone), floor (q,) f32; out_queries, out_rows
    i64 and out_keys f32 have equal lengths. Where fewer than four queries or three rows are left, the last are taken
    again, and not told again.
    """
    found, out = 0, (out_queries, out_rows, out_keys)
    tile = 3 * max(1, min(16, _NUMBERS // (3 * queries.shape[1])))
    for start in range(0, len(rows), tile):
        for first in range(0, len(queries), 4):
            for row in range(start, min(start + tile, len(rows)), 3):
                of = (
                    first,
                    min(first + 1, len(queries) - 1),
                    min(first + 2, len(queries) - 1),
                    min(first + 3, len(queries) - 1),
                )
                to = row, min(row + 1, len(rows) - 1), min(row + 2, len(rows) - 1)
                a, b, c, e = _sums(metric, queries, rows, of, to)
                if metric == _COSINE:
                    x, y, z = scales[to[0]], scales[to[1]], scales[to[2]]
                    a, b = (a[0] * x, a[1] * y, a[2] * z), (b[0] * x, b[1] * y, b[2] * z)
                    c, e = (c[0] * x, c[1] * y, c[2] * z), (e[0] * x, e[1] * y, e[2] * z)
                if max(a[0], a[1], a[2]) >= floor[of[0]]:
                    found = _tell(a, to, of[0], floor, found, out)
                if of[1] > of[0] and max(b[0], b[1], b[2]) >= floor[of[1]]:
                    found = _tell(b, to, of[1], floor, found, out)
                if of[2] > of[1] and max(c[0], c[1], c[2]) >= floor[of[2]]:
                    found = _tell(c, to, of[2], floor, found, out)
                if of[3] > of[2] and max(e[0], e[1], e[2]) >= floor[of[3]]:
                    found = _tell(e, to, of[3], floor, found, out)
    return found


@njit(nogil=True, cache=True)
def _tell(keys, rows, query, floor, found, out):  # type: ignore[no-untyped-def]
    """Write down those of three keys that reach the floor, as far as there is room. -> how many have been found."""
    out_queries, out_rows, out_keys = out
    for place in range(3):
        if keys[place] >= floor[query] and (place == 0 or rows[place] > rows[place - 1]):
            if found < len(out_keys):
                out_queries[found], out_rows[found], out_keys[found] = query, rows[place], keys[place]
            found += 1
    return found


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _sums(metric, queries, rows, of, to):  # type: ignore[no-untyped-def]
    """Keys of four queries with three rows each; of cosine the inner products."""
    if metric == _L2:
        return _squares(queries, rows, of, to)
    if metric == _L1:
        return _differences(queries, rows, of, to)
    return _products(queries, rows, of, to)


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _products(queries, rows, of, to):  # type: ignore[no-untyped-def]
    """Sums of products."""
    a, b, c, e = uintp(of[0]), uintp(of[1]), uintp(of[2]), uintp(of[3])
    x, y, z = uintp(to[0]), uintp(to[1]), uintp(to[2])
    ax = ay = az = bx = by = bz = cx = cy = cz = ex = ey = ez = np.float32(0)
    for j in range(uintp(queries.shape[1])):
        u, v, w = rows[x, j], rows[y, j], rows[z, j]
        q = queries[a, j]
        ax, ay, az = ax + q * u, ay + q * v, az + q * w
        q = queries[b, j]
        bx, by, bz = bx + q * u, by + q * v, bz + q * w
        q = queries[c, j]
        cx, cy, cz = cx + q * u, cy + q * v, cz + q * w
        q = queries[e, j]
        ex, ey, ez = ex + q * u, ey + q * v, ez + q * w
    return (ax, ay, az), (bx, by, bz), (cx, cy, cz), (ex, ey, ez)


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _squares(queries, rows, of, to):  # type: ignore[no-untyped-def]
    """Minus the sums of squared differences."""
    a, b, c, e = uintp(of[0]), uintp(of[1]), uintp(of[2]), uintp(of[3])
    x, y, z = uintp(to[0]), uintp(to[1]), uintp(to[2])
    ax = ay = az = bx = by = bz = cx = cy = cz = ex = ey = ez = np.float32(0)
    for j in range(uintp(queries.shape[1])):
        u, v, w = rows[x, j], rows[y, j], rows[z, j]
        q = queries[a, j]
        ax, ay, az = ax + (q - u) * (q - u), ay + (q - v) * (q - v), az + (q - w) * (q - w)
        q = queries[b, j]
        bx, by, bz = bx + (q - u) * (q - u), by + (q - v) * (q - v), bz + (q - w) * (q - w)
        q = queries[c, j]
        cx, cy, cz = cx + (q - u) * (q - u), cy + (q - v) * (q - v), cz + (q - w) * (q - w)
        q = queries[e, j]
        ex, ey, ez = ex + (q - u) * (q - u), ey + (q - v) * (q - v), ez + (q - w) * (q - w)
    return (-ax, -ay, -az), (-bx, -by, -bz), (-cx, -cy, -cz), (-ex, -ey, -ez)


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _differences(queries, rows, of, to):  # type: ignore[no-untyped-def]
    """Minus the sums of absolute differences."""
    a, b, c, e = uintp(of[0]), uintp(of[1]), uintp(of[2]), uintp(of[3])
    x, y, z = uintp(to[0]), uintp(to[1]), uintp(to[2])
    ax = ay = az = bx = by = bz = cx = cy = cz = ex = ey = ez = np.float32(0)
    for j in range(uintp(queries.shape[1])):
        u, v, w = rows[x, j], rows[y, j], rows[z, j]
        q = queries[a, j]
        ax, ay, az = ax + abs(q - u), ay + abs(q - v), az + abs(q - w)
        q = queries[b, j]
        bx, by, bz = bx + abs(q - u), by + abs(q - v), bz + abs(q - w)
        q = queries[c, j]
        cx, cy, cz = cx + abs(q - u), cy + abs(q - v), cz + abs(q - w)
        q = queries[e, j]
        ex, ey, ez = ex + abs(q - u), ey + abs(q - v), ez + abs(q - w)
    return (-ax, -ay, -az), (-bx, -by, -bz), (-cx, -cy, -cz), (-ex, -ey, -ez)
