"""ReTransformer's published figures from runs of emitted programs: products without written keys, energy, writes.

    python -m benchmarks.reproduce_retransformer

prints what follows when assumptions change. Published figures are those of the abstract and of a public summary of the
paper (ICCAD 2020, doi 10.1145/3400302.3415640); its table of components and its sequence length are not public.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.command_line import end_with
from benchmarks.reproduce_rows import Row
from isa import Machine, Program, load_machine
from passes import Graph, PassManager, TensorType, Value, parse_pipeline
from pimc.backend import CrossbarOptions, build_crossbar_program
from pimc.simulator import Simulator, Statistics

TOKENS = 128
HEAD = 64

_FITTED = (
    "128 tokens, a head by itself, no overlap of products, X written beside Q and R; the time of a vector through an"
    " array is fitted: {nanoseconds} ns against 7.2 ns of writing a column"
)
_WHOLE = "as above, but to the mixed values: decomposition adds the products with W_K^T and W_V and removes one write"
_COMPONENTS = (
    "the table of components is not public: ISAAC's converters, drivers and arrays at 32 nm, PUMA's write; an encoder"
    " layer of the base Transformer with 128 tokens, decomposed, one copy of X; no idle power, as none is known"
)
_PIPELAYER = f"{_COMPONENTS}; baseline from the literature: 143.9 GOPs/s/W, which the published ratio implies"
_GPU = f"{_COMPONENTS}; baseline from the literature: 20.15 GOPs/s/W, which the published ratio implies"
_SOFTMAX = (
    "while the unit works, eight heads of 128 tokens, 64 pairs side by side, 1 ns an operation; 13 operations a"
    " comparison and 8 a selection are published, their energies and those of the tables fitted"
)
_CMOS = f"{_SOFTMAX}; baseline from the literature: 1.0233 mW of a CMOS softmax"
_WRITES = "numbers written for an encoder layer of the base Transformer, eight heads, one copy of X"


@dataclass(frozen=True)
class Encoder:
    """An encoder layer, or its attention alone where `wide` is 0.

    Attributes:
        width: Elements of a token.
        heads: Heads of 64 elements.
        wide: Elements between the products of the feed-forward network.
    """

    width: int
    heads: int
    wide: int

    @property
    def operations(self) -> int:
        """Additions and multiplications of the products of the layer as it is defined, without decomposition."""
        inner = self.heads * HEAD
        linear = 4 * self.width * inner + 2 * self.width * self.wide
        return 2 * TOKENS * (linear + 2 * TOKENS * inner)


BASE = Encoder(512, 8, 2048)
"""Model A: the base Transformer."""
ONE_HEAD = Encoder(512, 1, 0)


def encoder_graph(encoder: Encoder) -> Graph:
    """The layer as a graph, with weights that are all 0."""
    graph = Graph("encoder")

    def typed(width: int) -> TensorType:
        return TensorType("float32", (1, TOKENS, width))

    def zeros(*shape: int) -> Value:
        return graph.add_constant(np.broadcast_to(np.float32(0), shape), "w")

    def linear(value: Value, width: int) -> Value:
        return graph.add_node("linear", [value, zeros(int(str(value.shape[-1])), width)], [typed(width)]).output

    x, inner = graph.add_input("x", typed(encoder.width)), encoder.heads * HEAD
    query, key, value = (linear(x, inner) for _ in range(3))
    kept = TensorType("float32", (1, encoder.heads, TOKENS, HEAD))
    attributes = {"heads": encoder.heads, "kv_heads": encoder.heads, "scale": HEAD**-0.5}
    attributes |= {"causal": False, "window": 0, "softcap": 0.0}
    result = graph.add_node("attention", [query, key, value], [query.type, kept, kept], attributes).output
    if encoder.wide:
        added = graph.add_node("add", [x, linear(result, encoder.width)], [x.type]).output
        up, down = zeros(encoder.width, encoder.wide), zeros(encoder.wide, encoder.width)
        operands = [added, up, None, None, None, down, None]
        forward = graph.add_node("feed_forward", operands, [x.type], {"activation": "relu"}).output
        result = graph.add_node("add", [added, forward], [x.type]).output
    graph.signature |= {"x": x.type, "y": result.type}
    graph.outputs["y"] = result
    return graph


def machine_with(vector_ns: float | None = None, write_factor: float = 1.0) -> Machine:
    """The bundled machine, with another time of a vector, and writes that take `write_factor` times as long.

    With another time of a vector its softmax runs on the vector unit: products are compared, and at such times the
    tournaments of the softmax by tables would outlast them.
    """
    base = load_machine("reram-retransformer")
    part = base.crossbar
    assert part is not None
    vector = part.vector_cycles if vector_ns is None else round(vector_ns / base.clock_ns)
    changed = {"vector_cycles": vector, "write_cycles": round(part.write_cycles * write_factor)}
    unit = base.hybrid_softmax if vector_ns is None else None
    return base.model_copy(update={"crossbar": part.model_copy(update=changed), "hybrid_softmax": unit})


@dataclass(frozen=True)
class Measured:
    """A run.

    Attributes:
        statistics: Of the whole run.
        scores_cycles: From its first product to its last scores.
    """

    statistics: Statistics
    scores_cycles: int


def measured(machine: Machine, encoder: Encoder, decomposed: bool, options: CrossbarOptions) -> Measured:
    """Compile and run a layer without data."""
    graph = encoder_graph(encoder)
    if decomposed:
        PassManager(parse_pipeline("decompose_attention{choose=all}")).run(graph)
    program = build_crossbar_program(graph, machine, options)
    simulator = Simulator(machine)
    simulator.load(program)
    simulator.record()
    statistics = simulator.run("encode", timing_only=True)
    found = simulator.recording()
    products, scores = _products(program, False), _products(program, True)
    first = min(found.start[np.isin(found.index, products)])
    return Measured(statistics, int(max(found.finish[np.isin(found.index, scores)]) - first))


def _products(program: Program, scores: bool) -> list[int]:
    """Instructions that are products; only those that scale, as scores are, when `scores` is set."""
    return [
        number
        for number, each in enumerate(program.code)
        if each.mnemonic == "xmvm" and (not scores or each["scale"] != 1.0)
    ]


@cache
def gains(vector_ns: float, write_factor: float = 1.0, schedule: str = "layers") -> tuple[float, float]:
    """How many times as fast a head is with decomposition: up to the scores, and up to the mixed values."""
    machine = machine_with(vector_ns, write_factor)
    options = CrossbarOptions(schedule="rows" if schedule == "rows" else "layers", copies=2)
    keys, x = (measured(machine, ONE_HEAD, decomposed, options) for decomposed in (False, True))
    return keys.scores_cycles / x.scores_cycles, keys.statistics.cycles / x.statistics.cycles


@cache
def base_layer(decomposed: bool, schedule: str = "rows") -> Statistics:
    """An encoder layer of the base Transformer on the bundled machine."""
    options = CrossbarOptions(schedule="rows" if schedule == "rows" else "layers")
    return measured(machine_with(), BASE, decomposed, options).statistics


def efficiency(statistics: Statistics) -> float:
    """Operations of the layer for a joule in 1e9, which is GOPs/s/W."""
    return BASE.operations / sum(statistics.energy_by_unit_j.values()) * 1e-9


def softmax_powers(statistics: Statistics) -> dict[str, float]:
    """Power of the parts of the softmax unit in mW while it works."""
    time_s = statistics.busy_cycles_by_unit["hybrid_softmax"] * statistics.clock_ns * 1e-9
    parts = ("softmax_compare", "softmax_select", "softmax_table")
    return {part: statistics.energy_by_unit_j[part] / time_s * 1e3 for part in parts}


def rows() -> list[Row]:
    """All rows."""
    return list(_rows())


def _rows() -> Iterator[Row]:
    for model, vector_ns, published in (("A", 3.7, 1.32), ("B", 4.9, 1.16)):
        scores, whole = gains(vector_ns)
        note, name = _FITTED.format(nanoseconds=vector_ns), f"ReTransformer model {model}"
        yield Row(f"{name}, scores without written keys: gain", published, scores, "", "A", 2, note)
        yield Row(f"{name}, whole attention: gain", published, whole, "", "A", 2, _WHOLE)
    found = efficiency(base_layer(True))
    yield Row("ReTransformer: computing efficiency, base Transformer", 467.68, found, "GOPs/s/W", "A", 2, _COMPONENTS)
    yield Row("ReTransformer: efficiency against PipeLayer", 3.25, found / 143.9, "", "A", 2, _PIPELAYER)
    yield Row("ReTransformer: efficiency against a GPU", 23.21, found / 20.15, "", "A", 2, _GPU)
    powers = softmax_powers(base_layer(True))
    total, compared = sum(powers.values()), powers["softmax_compare"] + powers["softmax_select"]
    yield Row("ReTransformer: softmax power", 0.6913, total, "mW", "A", 4, _SOFTMAX)
    yield Row("ReTransformer: softmax power, comparing and selecting", 0.3889, compared, "mW", "A", 4, _SOFTMAX)
    yield Row("ReTransformer: softmax power against CMOS", 0.6913 / 1.0233, total / 1.0233, "", "A", 3, _CMOS)
    writes = [base_layer(decomposed).energy_by_unit_j["crossbar_write"] for decomposed in (False, True)]
    yield Row("ReTransformer: writes of keys and values against X", 2.0, writes[0] / writes[1], "", "A", 1, _WRITES)


def sensitivity() -> list[tuple[str, float, float]]:
    """What is assumed, and the gains up to the scores and up to the mixed values that follow."""
    found = []
    for vector_ns in (3.7, 4.9, 800.0):
        for factor in (0.5, 1.0, 2.0):
            for schedule in ("layers", "rows"):
                text = f"vector {vector_ns:g} ns, write {7.2 * factor:.1f} ns, {schedule}"
                found.append((text, *gains(vector_ns, factor, schedule)))
    return found


def main() -> None:
    """Print the sensitivity table, and the two pipelines."""
    print(f"{'a head, 128 tokens, two copies of X':<40}  {'scores':>7}  {'whole':>7}")
    for text, scores, whole in sensitivity():
        print(f"{text:<40}  {scores:>7.3f}  {whole:>7.3f}")
    print()
    print(f"{'encoder layer of the base Transformer':<40}  {'us':>9}  {'GOPs/s/W':>9}")
    for decomposed in (False, True):
        for schedule in ("layers", "rows"):
            each = base_layer(decomposed, schedule)
            title = f"{'X' if decomposed else 'keys and values'} written, {schedule}"
            print(f"{title:<40}  {each.cycles * each.clock_ns * 1e-3:>9.1f}  {efficiency(each):>9.1f}")


if __name__ == "__main__":
    end_with(main)
