"""Compiled loops of exact search on a CPU: keys of query and vector that reach a floor are told, all others forgotten.

Chooses no blocks and no threads. One or two queries meet a row at a time, with lanes along its numbers (`scan_few`). Of
more, six rows meet sixteen queries at a time, a lane of a vector each, and their keys are
compared to the floor in the first cache; no matrix of them is ever written. Numba has no type for a vector, and LLVM
makes none of sums over lanes that must stay in registers; so the innermost loop is written in LLVM's own terms: twelve
sums of eight lanes, from two vectors of queries and a number of each row, while the next rows are fetched. All in one
file: numba's cache sees a change in no other.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

__all__ = ["LANES", "METRIC_CODES", "ROWS", "SPAN", "by_lanes", "read_only", "scan", "scan_few"]

METRIC_CODES = {"ip": 0, "cosine": 1, "l2": 2, "l1": 3}
LANES, ROWS = 16, 6
_COSINE, _L2, _L1 = METRIC_CODES["cosine"], METRIC_CODES["l2"], METRIC_CODES["l1"]
SPAN = 512  # numbers that are added up before they are added to the others: so long may rounding errors add up
_LINE = 64  # bytes of a cache line
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, 8)
_VECTORS = LANES // 8
_INDEX = ir.IntType(64)
Add = Callable[[Any, Any, Any, Any], Any]


def by_lanes(queries: np.ndarray) -> np.ndarray:
    """Queries (q, d) f32 as (groups, d, LANES): sixteen side by side, zeros after the last; on a cache line."""
    count, dimensions = queries.shape
    groups = -(-count // LANES)
    size = 4 * groups * dimensions * LANES
    memory = np.zeros(size + _LINE, dtype=np.uint8)
    offset = -memory.ctypes.data % _LINE
    lanes = memory[offset : offset + size].view(np.float32).reshape(groups, dimensions, LANES)
    for group in range(groups):
        some = queries[group * LANES : (group + 1) * LANES]
        lanes[group, :, : len(some)] = some.T
    return lanes


def read_only(array: np.ndarray) -> np.ndarray:
    """A view of it that may not be written: numba compiles again for those that may."""
    view = np.asarray(array).view()
    view.setflags(write=False)
    return view


def _product(builder: Any, total: Any, query: Any, number: Any) -> Any:
    return _fused(builder, query, number, total)


def _square(builder: Any, total: Any, query: Any, number: Any) -> Any:
    apart = builder.fsub(query, number)
    return _fused(builder, apart, apart, total)


def _difference(builder: Any, total: Any, query: Any, number: Any) -> Any:
    return builder.fadd(total, _called(builder, "llvm.fabs.v8f32", builder.fsub(query, number)))


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """One multiply and add, rounded once where the machine can."""
    return _called(builder, "llvm.fmuladd.v8f32", a, b, c)


def _called(builder: Any, name: str, *vectors: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(vectors))
    return builder.call(get_or_insert_function(builder.module, kind, name), vectors)


def _loop(add: Add) -> Any:
    """An intrinsic (queries, rows, stride, count, sums): what `add` makes of `count` numbers, added to `sums`.

    All are addresses or bytes: queries (count, LANES) f32, ROWS rows of count f32 that start `stride` bytes apart, sums
    (ROWS, LANES) f32. count >= 1.
    """

    @intrinsic
    def tile(typing_context, queries, rows, stride, count, sums):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            _emit(builder, add, *args)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 5), generate

    return tile


def _emit(builder: Any, add: Add, queries: Any, rows: Any, stride: Any, count: Any, sums: Any) -> None:
    before, body = builder.block, builder.append_basic_block("numbers")
    after = builder.append_basic_block("whole")
    starts = [builder.add(rows, builder.mul(stride, _INDEX(row))) for row in range(ROWS)]
    following_rows = builder.add(rows, builder.mul(stride, _INDEX(ROWS)))
    builder.branch(body)
    builder.position_at_end(body)
    place = builder.phi(_INDEX)
    place.add_incoming(_INDEX(0), before)
    totals = [[builder.phi(_VECTOR) for _ in range(_VECTORS)] for _ in range(ROWS)]
    first = builder.add(queries, builder.mul(place, _INDEX(4 * LANES)))
    asked = [_load(builder, builder.add(first, _INDEX(32 * one)), _VECTOR) for one in range(_VECTORS)]
    _prefetch(builder, builder.add(following_rows, builder.mul(place, _INDEX(4 * ROWS))))
    grown = []
    for row, start in enumerate(starts):
        number = _load(builder, builder.add(start, builder.mul(place, _INDEX(4))), _FLOAT)
        spread = _spread(builder, number)
        grown.append([add(builder, totals[row][one], query, spread) for one, query in enumerate(asked)])
    following = builder.add(place, _INDEX(1))
    builder.cbranch(builder.icmp_signed("<", following, count), body, after)
    place.add_incoming(following, body)
    for row in range(ROWS):
        for one in range(_VECTORS):
            totals[row][one].add_incoming(ir.Constant(_VECTOR, [0.0] * 8), before)
            totals[row][one].add_incoming(grown[row][one], body)
    builder.position_at_end(after)
    for row in range(ROWS):
        for one in range(_VECTORS):
            target = builder.inttoptr(builder.add(sums, _INDEX(4 * LANES * row + 32 * one)), _VECTOR.as_pointer())
            builder.store(builder.fadd(builder.load(target, align=4), grown[row][one]), target, align=4)


def _prefetch(builder: Any, address: Any) -> None:
    """Have the cache line at that address fetched meanwhile; beyond the end of the rows it is harmless."""
    pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
    function = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [builder.inttoptr(address, pointer), number(0), number(3), number(1)])


def _load(builder: Any, address: Any, kind: Any) -> Any:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=4)


def _spread(builder: Any, number: Any) -> Any:
    """The number in every lane."""
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, ir.IntType(32)(0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), mask)


_products, _squares, _differences = _loop(_product), _loop(_square), _loop(_difference)


@njit(nogil=True, cache=True)
def scan(metric, lanes, rows, scales, floor, out_queries, out_rows, out_keys):  # type: ignore[no-untyped-def]
    """Pairs whose key reaches the query's floor. -> how many; where there was not room for so many, not all were kept.

    lanes (g, d, LANES) f32 as `by_lanes` makes them, rows (n, d) f32 with n >= ROWS, scales (n,) f32 (read for cosine
    alone), floor (g * LANES,) f32, infinite for queries that are none; out_queries, out_rows i64 and out_keys f32 have
    equal lengths. Where fewer than ROWS are left, the last ROWS are taken, and those known are not told again.
    """
    found, n, d = 0, len(rows), rows.shape[1]
    sums = np.empty((ROWS, LANES), dtype=np.float32)
    of_lanes, of_rows, of_sums = lanes.ctypes.data, rows.ctypes.data, sums.ctypes.data
    for row in range(0, n, ROWS):
        first = min(row, n - ROWS)
        for group in range(len(lanes)):
            sums[:] = 0
            _meet(metric, of_lanes + 4 * LANES * d * group, of_rows + 4 * d * first, d, of_sums)
            if metric == _COSINE:
                for place in range(ROWS):
                    for lane in range(LANES):
                        sums[place, lane] *= scales[first + place]
            elif metric >= _L2:
                for place in range(ROWS):
                    for lane in range(LANES):
                        sums[place, lane] = -sums[place, lane]
            if _reached(sums, floor, LANES * group):
                out = out_queries, out_rows, out_keys
                found = _tell(sums, floor, LANES * group, first, row - first, found, out)
    return found


@njit(nogil=True, cache=True)
def scan_few(metric, queries, rows, scales, floor, out_queries, out_rows, out_keys):  # type: ignore[no-untyped-def]
    """As `scan`, with queries (q, d) f32 themselves and any n; a query and a row at a time, lanes along the numbers."""
    found, d = 0, rows.shape[1]
    for row in range(len(rows)):
        for query in range(len(queries)):
            key = np.float32(0)
            for left in range(0, d, SPAN):
                stop = min(left + SPAN, d)
                if metric == _L2:
                    key -= _squares_of(queries[query, left:stop], rows[row, left:stop])
                elif metric == _L1:
                    key -= _differences_of(queries[query, left:stop], rows[row, left:stop])
                else:
                    key += _products_of(queries[query, left:stop], rows[row, left:stop])
            if metric == _COSINE:
                key *= scales[row]
            if key >= floor[query]:
                if found < len(out_keys):
                    out_queries[found], out_rows[found], out_keys[found] = query, row, key
                found += 1
    return found


# Sums over lanes change the order of additions within a span, which the bound allows; between spans nothing may.
_in_lanes = njit(nogil=True, cache=True, fastmath={"contract", "nsz", "reassoc"})


@_in_lanes
def _products_of(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for place in range(len(a)):
        total += a[place] * b[place]
    return total


@_in_lanes
def _squares_of(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for place in range(len(a)):
        apart = a[place] - b[place]
        total += apart * apart
    return total


@_in_lanes
def _differences_of(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for place in range(len(a)):
        total += abs(a[place] - b[place])
    return total


@njit(nogil=True, cache=True)
def _meet(metric, queries, rows, d, sums):  # type: ignore[no-untyped-def]
    """Add up what a group of queries and ROWS rows make of each other; all are addresses."""
    for left in range(0, d, SPAN):
        count = min(SPAN, d - left)
        if metric == _L2:
            _squares(queries + 4 * LANES * left, rows + 4 * left, 4 * d, count, sums)
        elif metric == _L1:
            _differences(queries + 4 * LANES * left, rows + 4 * left, 4 * d, count, sums)
        else:
            _products(queries + 4 * LANES * left, rows + 4 * left, 4 * d, count, sums)


@njit(nogil=True, cache=True, fastmath={"nnan", "nsz", "reassoc"})
def _reached(keys, floor, first):  # type: ignore[no-untyped-def]
    """Whether any key reaches the floor of its query: the largest difference, which LLVM makes vectors of."""
    best = np.float32(-np.inf)
    for place in range(ROWS):
        for lane in range(LANES):
            best = max(best, keys[place, lane] - floor[first + lane])
    return best >= 0


@njit(nogil=True, cache=True)
def _tell(keys, floor, query, row, known, found, out):  # type: ignore[no-untyped-def]
    """Write down what reaches the floor, as far as there is room, but of the first `known` rows. -> how many so far."""
    out_queries, out_rows, out_keys = out
    for place in range(known, ROWS):
        for lane in range(LANES):
            if keys[place, lane] >= floor[query + lane]:
                if found < len(out_keys):
                    out_queries[found], out_rows[found], out_keys[found] = query + lane, row + place, keys[place, lane]
                found += 1
    return found
