"""Windows that slide over spatial axes: sizes, padding, and the positions that each element of a window visits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product as combinations

from isa import InputError, UnsupportedError
from passes import Affine, Dim
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import OnnxNode
from pimc.frontend.operators.padding import cut, padded
from pimc.frontend.symbols import dimensions_help

MOST_ELEMENTS = 4096
"""Elements of a window that slides with overlap: each of them is a slice in the graph."""


@dataclass(frozen=True)
class Windows:
    """Windows along the spatial axes of [N, C, spatial...].

    Attributes:
        kernel: Elements of a window.
        strides: Distance of neighbouring windows.
        dilations: Distance of neighbouring elements of a window.
        pads: Elements added before and behind.
        counts: Number of windows.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    counts: tuple[Dim, ...]

    @property
    def are_tiles(self) -> bool:
        """Whether windows lie side by side, without overlap or gap, on an operand that is not padded."""
        is_dense = all(d == 1 or k == 1 for d, k in zip(self.dilations, self.kernel, strict=True))
        return is_dense and self.kernel == self.strides and not any(map(any, self.pads))


def windows_of(node: OnnxNode, x: Operand, kernel: tuple[int, ...]) -> Windows:
    """The windows that the attributes of a convolution or pooling ask for.

    Raises:
        InputError: An attribute does not fit the operand.
        UnsupportedError: The number of windows is not affine in the dimensions.
    """
    sizes = node.builder.shape(x)[2:]
    strides, dilations = _per_axis(node, "strides", len(sizes)), _per_axis(node, "dilations", len(sizes))
    if len(kernel) != len(sizes) or min((*kernel, *strides, *dilations), default=1) < 1:
        raise InputError(f"windows {list(kernel)} with strides {list(strides)} do not fit {x.type}")
    extents = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    pads = _pads(node, sizes, strides, extents)
    ceil = bool(node.integer("ceil_mode", 0))
    facts = zip(sizes, strides, extents, pads, strict=True)
    counts = tuple(_count(size, stride, extent, pad, ceil) for size, stride, extent, pad in facts)
    return Windows(kernel, strides, dilations, pads, counts)


def _per_axis(node: OnnxNode, name: str, rank: int) -> tuple[int, ...]:
    values = node.integers(name) or (1,) * rank
    if len(values) != rank:
        raise InputError(f"the attribute '{name}' of {node.operator} is {list(values)}, but there are {rank} axes")
    return values


def _pads(
    node: OnnxNode, sizes: tuple[Dim, ...], strides: tuple[int, ...], extents: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    mode, rank = node.text("auto_pad", "NOTSET"), len(sizes)
    if mode == "VALID":
        return ((0, 0),) * rank
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        facts = zip(sizes, strides, extents, strict=True)
        return tuple(_same(size, stride, extent, mode == "SAME_UPPER") for size, stride, extent in facts)
    given = node.integers("pads") or (0,) * (2 * rank)
    if mode != "NOTSET" or len(given) != 2 * rank or min(given, default=0) < 0:
        raise InputError(f"pads {list(given)} in mode '{mode}' do not fit {rank} axes")
    return tuple(zip(given[:rank], given[rank:], strict=True))


def _same(size: Dim, stride: int, extent: int, is_upper: bool) -> tuple[int, int]:
    """As many windows as the size divided by the stride, rounded up; of an odd rest one more at one end."""
    if isinstance(size, int):
        total = max(0, (-(-size // stride) - 1) * stride + extent - size)
    elif stride == 1:
        total = extent - 1
    else:
        raise UnsupportedError(f"automatic padding of '{size}' elements is not supported", help=dimensions_help([size]))
    return (total // 2, total - total // 2) if is_upper else (total - total // 2, total // 2)


def _count(size: Dim, stride: int, extent: int, pad: tuple[int, int], ceil: bool) -> Dim:
    """Windows along an axis; with `ceil` also one that begins within the operand or the padding before it."""
    room = size + (sum(pad) - extent)
    if isinstance(room, Affine):
        if stride == 1:
            return room + 1
        if any(part % stride for part in (room.constant, *(factor for _, factor in room.terms))):
            raise UnsupportedError(
                f"windows every {stride} of '{size}' elements are not an affine number", help=dimensions_help([size])
            )
        return room // stride + 1
    if room < 0:
        raise InputError(f"a window of {extent} elements does not fit into {size} padded by {sum(pad)}")
    count = room // stride + 1
    if ceil and room % stride and isinstance(size, int) and count * stride < size + pad[0]:
        count += 1
    return count


def pieces(build: Builder, x: Operand, windows: Windows, filling: Operand) -> Iterator[Operand]:
    """For each element of a window, in row-major order: what it sees of [N, C, ...], as [N, C, counts...]."""
    total = 1
    for size in windows.kernel:
        total *= size
    if total > MOST_ELEMENTS:
        raise UnsupportedError(f"a window of {total} elements is larger than {MOST_ELEMENTS}")
    for axis, (pad, reach) in enumerate(zip(windows.pads, _reaches(build, x, windows), strict=True), 2):
        x = padded(build, x, axis, (pad[0], pad[1] + reach), filling)
    for element in combinations(*map(range, windows.kernel)):
        seen = x
        for position, index in enumerate(element):
            start, stride = index * windows.dilations[position], windows.strides[position]
            seen = _strided(build, seen, position + 2, start, windows.counts[position], stride)
        yield seen


def _reaches(build: Builder, x: Operand, windows: Windows) -> list[int]:
    """How far the last window of each axis reaches beyond the padding, where `ceil_mode` made one more."""
    reaches: list[int] = []
    for position, size in enumerate(build.shape(x)[2:]):
        count, stride = windows.counts[position], windows.strides[position]
        extent = (windows.kernel[position] - 1) * windows.dilations[position] + 1
        excess = (count - 1) * stride + extent - size - sum(windows.pads[position])
        reaches.append(max(0, excess) if isinstance(excess, int) else 0)
    return reaches


def _strided(build: Builder, x: Operand, axis: int, start: int, count: Dim, stride: int) -> Operand:
    if stride == 1 or count == 1:
        return cut(build, x, axis, start, start + count)
    stop = start + (count - 1) * stride + 1
    if isinstance(stop, int):
        return build.emit("slice", [x], {"axis": axis, "start": start, "stop": stop, "step": stride})
    raise UnsupportedError(f"every {stride}. of '{count}' elements is not supported", help=dimensions_help([count]))
