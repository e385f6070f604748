"""`matching`, compiled. Imports numba, and compiles on import; `lookup.warm_up` does that off the decoding thread."""

from __future__ import annotations

from numba import njit, types
from numba.extending import register_jitable

from fireside_engine.core.speculation import matching

for _shared in (
    matching.order_of,
    matching.bucket_of,
    matching.match_length,
    matching.cell_of,
    matching.gather,
    matching.follow,
):
    register_jitable(_shared)

_int, _real, _flag = types.int64, types.float64, types.boolean
_tokens, _table = types.int32[::1], types.float64[::1]
_grid = types.int32[:, ::1]

_result = types.Tuple((_int, _real, _int))

push = njit(types.void(_tokens, _int, _int, _grid, _grid), nogil=True, cache=True)(matching.push)
draft = njit(
    _result(_tokens, _int, _tokens, _int, _grid, _grid, _int, _flag, _table, _real, _int, _tokens, _table, _tokens),
    nogil=True,
    cache=True,
)(matching.draft)
