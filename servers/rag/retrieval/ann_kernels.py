"""Compiled loops over the lists of an inverted file, for a slice of queries. They let the lock go and start no threads.

Keys are those of `metrics`. A heap of a query's best has the worst first; of equal keys the higher id is the worse.
"""

from typing import Any

import numpy as np
from numba import njit, uintp

__all__ = ["COSINE", "IP", "L2", "compare", "scan_codes", "scan_vectors"]


IP, COSINE, L2 = 0, 1, 2

_FAST = {"reassoc", "contract", "nsz"}  # sums in any order, but infinity stays infinity
_BLOCK_BYTES = 1 << 14  # of rows that all queries of a list go over before the next: half of a first-level cache
_CODES = 1024  # that are looked up before any is compared: their sums stay in the first cache
_compiled = njit(nogil=True, cache=True, fastmath=_FAST)


@_compiled
def scan_vectors(
    metric: int, queries: Any, coarse: Any, probing: Any, lists: Any, factors: Any, slack: int, best: Any
) -> None:
    """The best rows of each query's lists.

    queries (q, d) f32; coarse: centroids (l, d) f32, for cosine of length 1, and their numbers (l,) i64. probing:
    (nprobe, part, parts): of a query's nprobe lists each `parts`-th from `part` on. lists: rows (n, d) f32, ids (n,)
    i64, offsets (l + 1,) i64. factors (n,) f32: for cosine one over the length. best: ids (q, k) i64 and keys (q, k)
    f64; what nothing is found for is left as it was. k + slack are chosen by sums in float32, then put in order by
    those in float64.
    """
    centroids, _ = coarse
    rows, ids, offsets = lists
    best_ids, best_keys = best
    kept = best_ids.shape[1] + slack
    order, starts = _by_list(_nearest(metric, queries, coarse, probing, factors), len(centroids))
    keys, places = np.full((len(queries), kept), np.float32(-np.inf)), np.full((len(queries), kept), -1)
    step = max(4, _BLOCK_BYTES // (4 * queries.shape[1]))
    for number in range(len(centroids)):
        if starts[number] < starts[number + 1]:
            for first in range(offsets[number], offsets[number + 1], step):
                end = min(first + step, offsets[number + 1])
                span, heaps = (first, end), (keys, places)
                _scan_cold_rows(metric, queries, order[starts[number]], rows, factors, ids, span, heaps)
                for entry in range(starts[number] + 1, starts[number + 1]):
                    _scan_rows(metric, queries, order[entry], rows, factors, ids, span, heaps)
    exact = np.empty(kept)
    for query in range(len(queries)):
        _sort(keys[query], places[query], ids)
        for slot in range(kept):
            place = places[query, slot]
            exact[slot] = _exact(metric, queries[query], rows[place]) if place >= 0 else -np.inf
        _mend(exact, places[query], ids)
        _copy(exact, places[query], ids, best_ids[query], best_keys[query])


@_compiled
def scan_codes(
    metric: int, queries: Any, coarse: Any, probing: Any, lists: Any, norms: Any, books: Any, best: Any
) -> None:
    """The same on codes (n, m) u8, with books (m, d/m, c) f32: keys of what they stand for, less the query's own norm.

    One table of a query's products with the books serves all lists: query . decoded is query . centroid and m entries.
    """
    centroids, _ = coarse
    codes, ids, offsets = lists
    best_ids, best_keys = best
    probes = _nearest(metric, queries, coarse, probing, norms)
    table = np.empty((books.shape[0], books.shape[2]), np.float32)
    keys, places = np.empty(best_ids.shape[1], np.float32), np.empty(best_ids.shape[1], np.int64)
    sums = np.empty(_CODES, np.float32)
    for query in range(len(queries)):
        keys[:] = -np.inf
        places[:] = -1
        _fill_table(queries[query], books, table)
        for number in probes[query]:
            near = _product(queries[query], centroids[number])
            for first in range(offsets[number], offsets[number + 1], _CODES):
                end = min(first + _CODES, offsets[number + 1])
                _look_up(table, codes[first:end], near, sums)
                for place in range(first, end):
                    key = sums[place - first]
                    if metric == L2:
                        key = np.float32(2) * key - norms[place]
                    if key >= keys[0]:
                        _push(keys, places, ids, key, place)
        _sort(keys, places, ids)
        _copy(keys, places, ids, best_ids[query], best_keys[query])


@_compiled
def compare(metric: int, queries: Any, vectors: Any, ids: Any, keys: Any) -> None:
    """Exact keys of each query and the vectors (n, d) f32 that its row of ids (q, c) names, into keys (q, c) f64."""
    for query in range(len(queries)):
        for column in range(ids.shape[1]):
            if ids[query, column] >= 0:
                keys[query, column] = _exact(metric, queries[query], vectors[ids[query, column]])


@_compiled
def _nearest(metric: int, queries: Any, coarse: Any, probing: Any, unread: Any) -> Any:
    """The lists of each query that this part looks into, nearest first, (q, lists). `unread`: they need no factors."""
    centroids, numbers = coarse
    nprobe, part, parts = probing
    kind = L2 if metric == L2 else IP
    keys, places = np.full((len(queries), nprobe), np.float32(-np.inf)), np.full((len(queries), nprobe), -1)
    step = max(4, _BLOCK_BYTES // (4 * queries.shape[1]))
    for first in range(0, len(centroids), step):
        end = min(first + step, len(centroids))
        for query in range(len(queries)):
            _scan_rows(kind, queries, query, centroids, unread, numbers, (first, end), (keys, places))
    for query in range(len(queries)):
        _sort(keys[query], places[query], numbers)
    return places[:, part::parts].copy()


@_compiled
def _by_list(probes: Any, lists: int) -> Any:
    """Which queries look into each list: the i-th list's are order[starts[i]:starts[i + 1]]."""
    starts = np.zeros(lists + 1, np.int64)
    for number in probes.flat:
        starts[number + 1] += 1
    starts = np.cumsum(starts)
    ends, order = starts[:-1].copy(), np.empty(probes.size, np.int64)
    for query in range(len(probes)):
        for number in probes[query]:
            order[ends[number]] = query
            ends[number] += 1
    return order, starts


@_compiled
def _scan_cold_rows(
    metric: int, queries: Any, query: int, rows: Any, factors: Any, ids: Any, span: Any, heaps: Any
) -> None:
    """As _scan_rows, of rows that no cache has: one at a time, which memory brings in sooner than four side by side."""
    keys, places = heaps
    for row in range(span[0], span[1]):
        key = _distance(queries[query], rows[row]) if metric == L2 else _product(queries[query], rows[row])
        if metric == COSINE:
            key *= factors[row]
        if key >= keys[query, 0]:
            _push(keys[query], places[query], ids, key, row)


@_compiled
def _scan_rows(metric: int, queries: Any, query: int, rows: Any, factors: Any, ids: Any, span: Any, heaps: Any) -> None:
    """Put the rows of a span, four at a time, among a query's best. All sums are made alike, so that equal rows tie."""
    keys, places = heaps
    first, end = span
    worst = keys[query, 0]
    for row in range(first, end, 4):
        r1, r2, r3 = min(row + 1, end - 1), min(row + 2, end - 1), min(row + 3, end - 1)
        if metric == L2:
            k0, k1, k2, k3 = _distances(queries[query], rows[row], rows[r1], rows[r2], rows[r3])
        else:
            k0, k1, k2, k3 = _products(queries[query], rows[row], rows[r1], rows[r2], rows[r3])
        if metric == COSINE:
            k0, k1, k2, k3 = k0 * factors[row], k1 * factors[r1], k2 * factors[r2], k3 * factors[r3]
        if max(k0, k1, k2, k3) >= worst:
            four = (k0, k1, k2, k3)
            for place in range(row, min(row + 4, end)):
                _push(keys[query], places[query], ids, four[place - row], place)
            worst = keys[query, 0]


@_compiled
def _products(query: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Inner products of the query with four rows."""
    s, t, u, v = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for i in range(len(query)):
        q = query[i]
        s += q * a[i]
        t += q * b[i]
        u += q * c[i]
        v += q * d[i]
    return s, t, u, v


@_compiled
def _distances(query: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Minus the squared distances of the query to four rows."""
    s, t, u, v = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for i in range(len(query)):
        q = query[i]
        s += (q - a[i]) * (q - a[i])
        t += (q - b[i]) * (q - b[i])
        u += (q - c[i]) * (q - c[i])
        v += (q - d[i]) * (q - d[i])
    return -s, -t, -u, -v


@_compiled
def _product(a: Any, b: Any) -> Any:
    """Inner product."""
    total = np.float32(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@_compiled
def _distance(a: Any, b: Any) -> Any:
    """Minus the squared distance."""
    total = np.float32(0)
    for i in range(len(a)):
        total -= (a[i] - b[i]) * (a[i] - b[i])
    return total


@_compiled
def _exact(metric: int, a: Any, b: Any) -> Any:
    """The key in float64, as metrics.exact_keys."""
    ab, aa, bb = 0.0, 0.0, 0.0
    if metric == L2:
        for i in range(len(a)):
            left = np.float64(a[i]) - np.float64(b[i])
            ab -= left * left
        return ab
    for i in range(len(a)):
        ab += np.float64(a[i]) * np.float64(b[i])
        aa += np.float64(a[i]) * np.float64(a[i])
        bb += np.float64(b[i]) * np.float64(b[i])
    if metric == COSINE:
        return ab / np.sqrt(aa * bb) if aa * bb > 0 else 0.0
    return ab


@_compiled
def _fill_table(query: Any, books: Any, table: Any) -> None:
    """Products of each part of the query with its book's centroids."""
    m, width, size = books.shape
    for j in range(m):
        table[j] = 0
        for i in range(width):
            q = query[j * width + i]
            for c in range(size):
                table[j, c] += q * books[j, i, c]


@_compiled
def _look_up(table: Any, codes: Any, start: float, sums: Any) -> None:
    """Sums of the entries that each code names and `start`, four books at a time.

    Unsigned places: a signed one is first checked for being negative.
    """
    m = codes.shape[1]
    sums[:] = start
    for j in range(0, m - 3, 4):
        t0, t1, t2, t3, book = table[j], table[j + 1], table[j + 2], table[j + 3], uintp(j)
        for row in range(len(codes)):
            r = uintp(row)
            left = t0[codes[r, book]] + t1[codes[r, book + uintp(1)]]
            sums[r] += left + (t2[codes[r, book + uintp(2)]] + t3[codes[r, book + uintp(3)]])
    for j in range(m - m % 4, m):
        t0, book = table[j], uintp(j)
        for row in range(len(codes)):
            sums[uintp(row)] += t0[codes[uintp(row), book]]


@_compiled
def _is_worse(key: float, place: int, other_key: float, other: int, ids: Any) -> bool:
    """Whether a place comes after another; none (-1) comes after all."""
    if key != other_key or other < 0 or place < 0:
        return key < other_key or (key == other_key and place < 0 <= other)
    return ids[place] > ids[other]


@_compiled
def _push(keys: Any, places: Any, ids: Any, key: float, place: int) -> None:
    """Put it into the heap instead of the worst, if it is better."""
    if _is_worse(keys[0], places[0], key, place, ids):
        keys[0], places[0] = key, place
        _sift(keys, places, ids, len(keys))


@_compiled
def _sift(keys: Any, places: Any, ids: Any, count: int) -> None:
    """Let the first of a heap of `count` sink to where it belongs."""
    key, place, slot = keys[0], places[0], 0
    while 2 * slot + 1 < count:
        child = 2 * slot + 1
        if child + 1 < count and _is_worse(keys[child + 1], places[child + 1], keys[child], places[child], ids):
            child += 1
        if not _is_worse(keys[child], places[child], key, place, ids):
            break
        keys[slot], places[slot] = keys[child], places[child]
        slot = child
    keys[slot], places[slot] = key, place


@_compiled
def _sort(keys: Any, places: Any, ids: Any) -> None:
    """A heap in order, best first."""
    for count in range(len(keys) - 1, 0, -1):
        keys[0], keys[count] = keys[count], keys[0]
        places[0], places[count] = places[count], places[0]
        _sift(keys, places, ids, count)


@_compiled
def _mend(keys: Any, places: Any, ids: Any) -> None:
    """Put what is nearly in order in order, best first."""
    for last in range(1, len(keys)):
        key, place, slot = keys[last], places[last], last
        while slot > 0 and _is_worse(keys[slot - 1], places[slot - 1], key, place, ids):
            keys[slot], places[slot] = keys[slot - 1], places[slot - 1]
            slot -= 1
        keys[slot], places[slot] = key, place


@_compiled
def _copy(keys: Any, places: Any, ids: Any, best_ids: Any, best_keys: Any) -> None:
    """What was found, to where it was asked for."""
    for slot in range(len(best_ids)):
        if places[slot] >= 0:
            best_ids[slot], best_keys[slot] = ids[places[slot]], keys[slot]
