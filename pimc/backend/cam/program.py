"""A graph that is one attention -> a program for a machine with a CAM and without near-bank units."""

from __future__ import annotations

from collections.abc import Iterator

from isa import Entry, Machine, Program, Region, RegisterSymbol, ResourceLimitError, Source, Symbol, UnsupportedError
from passes import Affine, Graph, Node, Value, cache_facts
from pimc.backend.cam.attention_code import AttentionWords, emit_attention
from pimc.backend.cam.search_plan import SearchPlan, cam_of, search_plan
from pimc.backend.emitter import Emitter
from pimc.backend.operations.scalars import past_symbols
from pimc.backend.options import ProgramOptions
from pimc.backend.rooms.host_rooms import HostRooms, symbol_name

_KV_LENGTH = 0
"""Register with the number of tokens in the cache."""


def build_cam_program(graph: Graph, machine: Machine, options: ProgramOptions) -> Program:
    """Lower an attention with its keys and values to a program with the entry `decode`, for one token a run.

    The graph is one `cached_attention` of a single sequence, whose query, key and value are inputs and whose result is
    an output; its cache has the selection `BinaryKeys`.

    Raises:
        UnsupportedError: the graph is another one; all reasons are named.
        ResourceLimitError: the context or the operands do not fit.
    """
    node = _only_attention(graph)
    plan = search_plan(graph, node, cam_of(machine), options.max_context)
    rooms = HostRooms()
    words = _place_rows(graph, plan, rooms, machine.shared_buffer.capacity_words)
    _place_cache(graph, plan, rooms)
    emitter = Emitter()
    kv_length = emitter.register()
    assert kv_length == _KV_LENGTH
    with emitter.origin(Source(node.name, tuple(node.origins))):
        emit_attention(emitter, plan, words, kv_length)
    emitter.emit("halt")
    register = RegisterSymbol("kv_length", kv_length, 0, options.max_context - 1, "tokens in the KV cache")
    return Program(
        machine=machine.name,
        machine_sha256=machine.sha256,
        numerics=options.numerics,
        code=tuple(emitter.code),
        entries={"decode": Entry("decode", 0, ("kv_length",))},
        registers=(register,),
        regions=tuple(rooms.regions),
        symbols=tuple(rooms.symbols),
        ports=tuple(rooms.ports),
        sources=tuple(emitter.sources),
        debug=tuple(emitter.debug),
        metadata={**options.metadata, "max_context": options.max_context, **_facts(graph, node)},
    )


def _only_attention(graph: Graph) -> Node:
    problems = list(_problems(graph))
    if problems:
        raise UnsupportedError(
            f"'{graph.name}' is more than an attention, which is all that programs for this machine do",
            notes=problems,
            help="a machine with banks beside such a memory runs whole models:"
            " -m e2e-pim --kv cam:k=32 --units attention=cam",
        )
    return graph.nodes[0]


def _problems(graph: Graph) -> Iterator[str]:
    others: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.op != "cached_attention":
            others.setdefault(node.op, []).append(node.name)
    for operation, names in others.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{operation} '{names[0]}'{more}: there is no code for it without near-bank units"
    found = [node for node in graph.nodes if node.op == "cached_attention"]
    if len(found) != 1 and not others:
        yield f"it has {len(found)} attentions over resident keys and values"
    for node in found if not others else ():
        yield from (f"attention '{node.name}' {problem}" for problem in _attention_problems(graph, node))


def _attention_problems(graph: Graph, node: Node) -> Iterator[str]:
    operands = [node.optional(place) for place in range(3)]
    if any(value is None or value not in graph.inputs for value in operands):
        yield "has a query, key or value that is no input of the model"
    if not graph.is_output(node.output):
        yield "has a result that is no output of the model"
    if node.optional(3) is not None or node.optional(4) is not None:
        yield "adds to its scores, or masks keys"
    if node.attributes["softcap"] or node.attributes["window"]:
        yield "limits its scores, or has a window"
    if node.operand(0).shape[0] != 1:
        yield f"has {node.operand(0).shape[0]} sequences; allowed: 1"


def _place_rows(graph: Graph, plan: SearchPlan, rooms: HostRooms, capacity: int) -> AttentionWords:
    """Rooms of one token for operands and result in the shared buffer."""
    names = {value: value.name for value in graph.inputs} | {value: name for name, value in graph.outputs.items()}
    first: list[int] = []
    end = 0
    for value in (*(plan.node.operand(place) for place in range(3)), plan.node.output):
        width = int(str(value.shape[-1]))
        direction = "output" if value is plan.node.output else "input"
        rooms.add_port(graph, names[value], direction, "tokens", _row_symbol(names[value], value, end, width))
        role = "output" if value is plan.node.output else "inputs"
        rooms.regions.append(Region(symbol_name(names[value]), "sb", end, width, role))
        first.append(end)
        end += width
    if end > capacity:
        raise ResourceLimitError(
            "the operands of the attention do not fit the shared buffer",
            notes=[f"demand: {end} words", f"bound: {capacity} words"],
        )
    return AttentionWords(*first)


def _row_symbol(name: str, value: Value, address: int, width: int) -> Symbol:
    layout = {"kind": "tokens", "axis": 1, "sequences": 1, "words": width, "words_per_token": width}
    return Symbol(symbol_name(name), "sb", address, width, layout)


def _place_cache(graph: Graph, plan: SearchPlan, rooms: HostRooms) -> None:
    """Name keys and values in the CAM, and the ports through which the host gives and reads them."""
    cache = plan.cache
    key, value = plan.symbols(symbol_name(cache.name))
    ports = ((key, cache.past_key, cache.present_key), (value, cache.past_value, cache.present_value))
    for symbol, past, present in ports:
        rooms.symbols.append(symbol)
        for port, direction, kind in ((past, "input", "past"), (present, "output", "present")):
            if port is not None:
                rooms.add_port(graph, port, direction, kind, symbol)


def _facts(graph: Graph, node: Node) -> dict[str, object]:
    """What the host must know."""
    tokens = node.operand(0).shape[1]
    symbols = dict.fromkeys(past_symbols(graph), "kv_length")
    if isinstance(tokens, Affine):
        symbols |= dict.fromkeys(tokens.symbols, "token_count")
    facts = [cache_facts(cache) for cache in graph.caches.values()]
    return {"chunk": 1, "symbols": symbols, "tokens": str(tokens), "searched_cache": facts}
