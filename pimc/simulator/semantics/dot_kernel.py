"""The inner product of the MAC units: sixteen lanes at a time, by explicit vector instructions.

Numba's own vectoriser leaves up to 48 elements of every product to scalar code, which is most of the time of a product
of 9 columns. Sixteen partial sums, one a lane, are kept as the hardware keeps them; their sum is taken once at the end,
so the result does not depend on the vector width of the processor that simulates.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils as _untyped_cgutils
from numba.extending import intrinsic

cgutils: Any = _untyped_cgutils

LANES = 16
"""Elements of a block; products take whole blocks."""

_FLOAT = ir.FloatType()
_FLOATS = ir.VectorType(_FLOAT, LANES)
_HALVES = ir.VectorType(ir.IntType(16), LANES)
_WORDS = ir.VectorType(ir.IntType(32), LANES)
_BYTE_POINTER = ir.IntType(8).as_pointer()
_SHIFT = ir.Constant(_WORDS, [16] * LANES)
_ZERO = ir.Constant(_FLOATS, [0.0] * LANES)


def _load_bfloat16(builder: Any, address: Any, index: Any) -> Any:
    pointer = builder.inttoptr(address, _HALVES.as_pointer())
    halves = builder.load(builder.gep(pointer, [index]), align=2)
    return builder.bitcast(builder.shl(builder.zext(halves, _WORDS), _SHIFT), _FLOATS)


def _load_float32(builder: Any, address: Any, index: Any) -> Any:
    pointer = builder.inttoptr(address, _FLOATS.as_pointer())
    return builder.load(builder.gep(pointer, [index]), align=4)


def _prefetch(builder: Any, address: Any, index: Any, block_bytes: int) -> None:
    offset = builder.mul(index, ir.Constant(index.type, block_bytes))
    pointer = builder.inttoptr(builder.add(address, offset), _BYTE_POINTER)
    integer = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [_BYTE_POINTER, integer, integer, integer])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, integer(0), integer(3), integer(1)])


def _sum_of_lanes(builder: Any, lanes: Any) -> Any:
    kind = ir.FunctionType(_FLOAT, [_FLOAT, _FLOATS])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.fadd.v16f32")
    return builder.call(function, [ir.Constant(_FLOAT, 0.0), lanes], fastmath=("reassoc",))


def _product(builder: Any, arguments: tuple[Any, ...], load: Any, block_bytes: int) -> Any:
    weights, inputs, blocks, ahead = arguments
    total = cgutils.alloca_once_value(builder, _ZERO)
    builder.store(_ZERO, total)
    with cgutils.for_range(builder, blocks) as loop:
        _prefetch(builder, builder.add(weights, ahead), loop.index, block_bytes)
        left = load(builder, weights, loop.index)
        right = _load_float32(builder, inputs, loop.index)
        product = builder.fmul(left, right, flags=("contract",))
        builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
    return _sum_of_lanes(builder, builder.load(total))


_SIGNATURE = types.float32(types.uintp, types.uintp, types.uintp, types.uintp)


def _bfloat16_intrinsic(typing_context: Any, weights: Any, inputs: Any, blocks: Any, ahead: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _product(builder, arguments, _load_bfloat16, 2 * LANES)

    return _SIGNATURE, generate


def _float32_intrinsic(typing_context: Any, weights: Any, inputs: Any, blocks: Any, ahead: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _product(builder, arguments, _load_float32, 4 * LANES)

    return _SIGNATURE, generate


dot_bfloat16: Any = intrinsic(_bfloat16_intrinsic)
"""dot_bfloat16(weights, inputs, blocks, ahead): inner product of `blocks` times 16 elements, as binary32.

`weights` is the memory address of bf16 bits, `inputs` that of binary32. While it runs, the cache is asked for the same
range of the weights `ahead` bytes further on. Compiled code only.
"""

dot_float32: Any = intrinsic(_float32_intrinsic)
"""As `dot_bfloat16`, with binary32 at `weights`."""
