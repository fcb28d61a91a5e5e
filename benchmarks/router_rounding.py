"""Which rounding makes mixtures of experts choose otherwise: the routers' own products, or everything before them.

    python -m benchmarks.router_rounding [--cases 300]

Runs the mixtures of experts of the corpus on the graph interpreter in binary32, and again with operands of products,
of attention and of lookups rounded to bf16, as near-bank units take them: all of them, those of the routers alone, and
all but those of the routers. Counts the tokens that get other experts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("models", "tests/models")]

from corpus_inputs import random_case
from corpus_manifest import CorpusGraph, load_manifest
from corpus_measures import symbols_of
from corpus_runs import selected_tokens

from passes import Graph, Node, PassManager, TensorType, Value, interpret, pipeline
from pimc.frontend import import_model

_OPERANDS = {
    "linear": (0, 1),
    "expert_linear": (0, 2),
    "feed_forward": (0, 1, 3, 5),
    "cached_attention": (0, 1, 2),
    "gather": (0,),
}
"""Operands that the machine holds in bf16, by operation."""
_BETWEEN = ("softmax", "cast", "reshape")
"""Operations between a router's product and its choice."""
GRAPHS = ("mixtral-torchscript", "qwen-moe-torchscript", "qwen2-moe-torchscript")
SEQUENCES, TOKENS = 2, 12

Choose = Callable[[Node], bool]
ROUNDINGS: dict[str, Choose] = {
    "everything": lambda node: True,
    "the routers' products": lambda node: is_router(node),
    "everything else": lambda node: not is_router(node),
}
"""Whether the operands of a node are rounded, by what is rounded."""


def is_router(node: Node) -> bool:
    """Whether the node is a product whose result experts are chosen by."""
    if node.op != "linear":
        return False
    waiting = [node.output]
    while waiting:
        for user in waiting.pop().users:
            if user.op == "topk":
                return True
            waiting += user.outputs if user.op in _BETWEEN else []
    return False


def rounded_graph(corpus_graph: CorpusGraph, is_chosen: Choose) -> Graph:
    """The fused graph with bf16 operands of the chosen nodes."""
    graph = import_model(corpus_graph.path, symbols_of(corpus_graph, SEQUENCES))
    PassManager(pipeline("default")).run(graph)
    for node in [node for node in graph.nodes if is_chosen(node)]:
        for position in _OPERANDS.get(node.op, ()):
            value = node.inputs[position]
            if value is not None and value.type.dtype == "float32":
                graph.set_input(node, position, _rounded(graph, value))
    return graph


def _rounded(graph: Graph, value: Value) -> Value:
    if value.constant is not None:
        array = np.asarray(value.constant).astype(ml_dtypes.bfloat16).astype(np.float32)
        return graph.add_constant(array, value.name)
    for dtype in ("bfloat16", "float32"):
        value = graph.add_node("cast", [value], [TensorType(dtype, value.shape)], {"to": dtype}).output
    return value


def choices(graph: Graph, corpus_graph: CorpusGraph, cases: int) -> Iterator[np.ndarray]:
    """The experts of every token that counts, in order of their numbers, for one case and choice after another."""
    wanted = [node.outputs[1] for node in graph.nodes if node.op == "topk"]
    for seed in range(cases):
        past = 7 * (seed % 2)
        case = random_case(corpus_graph, SEQUENCES, TOKENS, past, seed=seed)
        for experts in interpret(graph, case.inputs, wanted=wanted).values():
            yield np.sort(experts[selected_tokens(case)], axis=-1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how many choices change; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.router_rounding", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=300, help="random inputs a graph (default: 300)")
    cases: int = parser.parse_args(arguments).cases
    changed, count = dict.fromkeys(ROUNDINGS, 0), 0
    for graph in (graph for graph in load_manifest() if graph.name in GRAPHS):
        exact = list(choices(rounded_graph(graph, lambda node: False), graph, cases))
        count += sum(len(experts) for experts in exact)
        for name, is_chosen in ROUNDINGS.items():
            found = choices(rounded_graph(graph, is_chosen), graph, cases)
            changed[name] += sum(int((a != b).any(-1).sum()) for a, b in zip(exact, found, strict=True))
    print(f"{count:,} choices of experts by {len(GRAPHS)} models; with bf16 operands of")
    for name, number in changed.items():
        print(f"  {name:22} {number:4} change")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
