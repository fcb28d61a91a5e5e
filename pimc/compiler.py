"""The driver: model -> graph -> passes -> program."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa import (
    Machine,
    Place,
    Program,
    ResourceLimitError,
    UnsupportedError,
    load_machine,
    machine_metadata,
    machine_names,
)
from passes import (
    Affine,
    BinarizeAttention,
    ChooseUnits,
    DecomposeAttention,
    Graph,
    KvSpecification,
    Node,
    Pass,
    PassManager,
    PassReport,
    PlaceWeights,
    UnitSpecification,
    Value,
    binarizing,
    compressing,
    decomposing,
    load_kv,
    parse_pipeline,
    parse_units,
    pipeline,
    place_together,
)
from pimc.backend import ProgramOptions, Stage, build_cam_program, build_program, build_stages
from pimc.frontend import LoadedModel, import_model, load_model, wrap_model
from pimc.model_folder import ModelFile, ModelFolder, file_dimensions, is_folder, load_folder
from pimc.model_inputs import table_rows

if TYPE_CHECKING:
    import onnx

Observer = Callable[[PassReport, Graph], None]
"""Called after every pass."""

_LOG = logging.getLogger(__name__)

DEFAULT_MAX_CONTEXT = 2048
_LEAST_CONTEXT = 32
_PS_PER_NS = 1000
USUAL_CONTEXT = 512
"""Tokens for which the units of attention are chosen when the user names no longest context."""
DEFAULT_CHUNK = 16


def compile_model(
    source: str | Path | onnx.ModelProto,
    machine: Machine,
    dims: Mapping[str, int] | None = None,
    max_context: int | None = None,
    numerics: str = "machine",
    pipeline_text: str | None = None,
    optimize: bool = True,
    observers: Sequence[Observer] = (),
    chunk: int = DEFAULT_CHUNK,
    weights: bool = True,
    bind: Mapping[str, Any] | None = None,
    kv: str | KvSpecification | None = None,
    units: str | UnitSpecification | None = None,
) -> Program:
    """Compile an ONNX model.

    Args:
        source: Path of the model, or the model itself; a folder with the files of an encoder-decoder model becomes one
            program with the entries `encode`, `prefill` and `decode`.
        machine: The target.
        dims: Numbers for symbolic dimensions.
        max_context: Longest attended length; default: what the model's position tables allow, at most
            `DEFAULT_MAX_CONTEXT`, halved until the program fits the machine.
        numerics: `machine` stores and rounds as the hardware does, `fp32` computes in binary32 throughout.
        pipeline_text: Passes to run instead of a named pipeline, as `a,b{x=1}`.
        optimize: Whether to run the optional passes, over the graph and over the code.
        observers: Called after every pass.
        chunk: Tokens of one `prefill` run at most.
        weights: Whether the program holds the weights; without them it can only be timed.
        bind: Values by name of the inputs that become constants.
        kv: Policies that compress the KV cache, as `pimc policies` lists them: `kivi:bits=4 ; none @ 0-1`, or `@FILE`.
        units: Units that blocks run on, where the machine has several: `products=crossbar,attention=banks`; default:
            what costs least.

    Returns:
        The program.

    Raises:
        PimcError: The model, an option or the machine is refused; the message says where and what is allowed.
    """
    _check_banks(machine)
    policies = load_kv(kv) if isinstance(kv, str) else kv
    chosen = {"pipeline": pipeline_text or ("default" if optimize else "O0"), **machine_metadata(machine)}
    wanted = parse_units(units) if isinstance(units, str) else units
    if policies is not None:
        chosen["kv"] = policies.text
    if wanted is not None:
        chosen["units"] = wanted.text
    if is_folder(source):
        folder = load_folder(str(source))
        graphs = fuse_folder(folder, dims, pipeline_text, optimize, observers, bind, policies, machine)
        for graph in reversed(graphs):  # first the decoding step, which runs most often
            beside = [other for other in graphs if other is not graph]
            PassManager(_unit_passes(machine, wanted, max_context, beside), observers).run(graph)
        place_together(machine, graphs)
        metadata = {**_metadata(folder.path.resolve().name, folder.sha256), **chosen}
        options = ProgramOptions(0, chunk, numerics, {**metadata, "start_token": folder.start_token}, weights, optimize)
        named = [(file.model.name, graph) for file, graph in zip(folder.files, graphs, strict=True)]
        return _longest(
            named, max_context, lambda context: build_stages(_stages(folder, graphs, options, context), machine)
        )
    model = load_model(source) if isinstance(source, str | Path) else wrap_model(source)
    is_search = _search(machine) is not None
    graph = fuse_model(model, dims, pipeline_text, optimize, observers, bind, policies, machine)
    if not is_search:
        PassManager([*_unit_passes(machine, wanted, max_context), PlaceWeights(machine)], observers).run(graph)
    metadata = {**_metadata(model.name, model.sha256), "table_rows": table_rows(graph), **chosen}
    options = ProgramOptions(0, chunk, numerics, metadata, weights, optimize)
    named, build = [(model.name, graph)], build_cam_program if is_search else build_program
    return _longest(named, max_context, lambda context: build(graph, machine, replace(options, max_context=context)))


def _check_banks(machine: Machine) -> None:
    """Refuse machines without banks for weights and tables, but for those that search for keys and do nothing else."""
    if machine.near_bank is not None or _search(machine) is not None:
        return
    names = [name for name in machine_names() if load_machine(name).near_bank is not None]
    raise UnsupportedError(
        f"the machine '{machine.name}' has no near-bank memory that could hold a model's weights and tables",
        help=f"machines that run whole models: {', '.join(names)}; README, 'Published systems', says what others run",
    )


def _unit_passes(
    machine: Machine, wanted: UnitSpecification | None, max_context: int | None, beside: Sequence[Graph] = ()
) -> list[Pass]:
    """The choice of units, where a machine has several or the user asks for one."""
    if machine.computes_in_banks and machine.crossbar is None and machine.cam is None and wanted is None:
        return []
    return [ChooseUnits(machine, wanted or UnitSpecification(), max_context or USUAL_CONTEXT, beside)]


def _longest(graphs: Sequence[tuple[str, Graph]], max_context: int | None, build: Callable[[int], Program]) -> Program:
    """The program for the longest context that fits the machine; graphs stand behind the names of their files."""
    contexts = _contexts(graphs, max_context)
    for context in contexts:
        try:
            return build(context)
        except ResourceLimitError:
            if context == contexts[-1]:
                raise
            _LOG.info("a context of %d tokens does not fit the machine", context)
    raise AssertionError("the last context either builds or raises")


def _search(machine: Machine) -> BinarizeAttention | None:
    """How a machine whose attention is a search finds keys; `None` for other machines."""
    cam = machine.cam
    if cam is None or machine.near_bank is not None:
        return None
    return BinarizeAttention(cam.kept, cam.rows, cam.tile_top, cam.code_bits)


def fuse_model(
    model: LoadedModel,
    dims: Mapping[str, int] | None = None,
    pipeline_text: str | None = None,
    optimize: bool = True,
    observers: Sequence[Observer] = (),
    bind: Mapping[str, Any] | None = None,
    kv: KvSpecification | None = None,
    machine: Machine | None = None,
) -> Graph:
    """Import a model and run the passes that choose no places yet.

    Arguments as for `compile_model`. Unless policies or a pass of the pipeline say it, an associative memory of the
    machine says how attention looks for its keys, and the times of its crossbars decide whether X is written there
    instead of keys and values.
    """
    graph = import_model(model, dims, bind)
    passes = list(parse_pipeline(pipeline_text) if pipeline_text else pipeline("default" if optimize else "O0"))
    if kv is not None:
        passes = compressing(passes, kv)
    elif machine is not None:
        passes = _for_machine(passes, machine)
    PassManager(passes, observers).run(graph)
    return graph


def _for_machine(passes: list[Pass], machine: Machine) -> list[Pass]:
    """Passes, and those that a machine adds to them."""
    search, arrays = _search(machine), machine.crossbar
    if search is not None:
        return binarizing(passes, search)
    if arrays is not None:
        vector_ps, write_ps = (
            round(cycles * machine.clock_ns * _PS_PER_NS) for cycles in (arrays.vector_cycles, arrays.write_cycles)
        )
        return decomposing(passes, DecomposeAttention(vector_ps=vector_ps, write_ps=write_ps))
    return passes


def fuse_folder(
    folder: ModelFolder,
    dims: Mapping[str, int] | None = None,
    pipeline_text: str | None = None,
    optimize: bool = True,
    observers: Sequence[Observer] = (),
    bind: Mapping[str, Any] | None = None,
    kv: KvSpecification | None = None,
    machine: Machine | None = None,
) -> tuple[Graph, ...]:
    """Import the models of a folder and run the passes that choose no places yet, in the order of `folder.files`.

    Arguments as for `fuse_model`; `dims` and `bind` go to every file that has a dimension or input of that name,
    `kv` to the decoder's.

    Raises:
        UnsupportedError: the keys and values of a decoder were not recognised, so that they cannot stay in the machine.
    """
    graphs: list[Graph] = []
    for file in folder.files:
        own_dims, own_bind = file_dimensions(folder, file, dims or {}, bind or {})
        own_kv = None if file.entry == "encode" else kv
        graphs.append(fuse_model(file.model, own_dims, pipeline_text, optimize, observers, own_bind, own_kv, machine))
        if file.bind:
            _drop_other_branch(graphs[-1])
        _check_caches(file, graphs[-1])
    return tuple(graphs)


def _drop_other_branch(graph: Graph) -> None:
    """Take the inputs out that only the other branch of a merged decoder reads."""
    unread = [value for value in graph.inputs if not value.uses and not graph.is_output(value)]
    graph.inputs = [value for value in graph.inputs if value not in unread]
    for value in unread:
        del graph.signature[value.name]


def _check_caches(file: ModelFile, graph: Graph) -> None:
    starts = "present" if file.entry == "prefill" else "past"
    names = [*graph.outputs] if file.entry == "prefill" else [value.name for value in graph.inputs]
    left = [name for name in names if name.startswith(starts)]
    if left and file.entry != "encode":
        raise UnsupportedError(
            f"{len(left)} arrays of keys and values do not belong to a recognised attention",
            Place(file.model.name),
            notes=[f"'{name}'" for name in left[:8]],
            help="see 'pimc inspect' of this file for what was not fused and why",
        )


def _stages(folder: ModelFolder, graphs: Sequence[Graph], options: ProgramOptions, context: int) -> list[Stage]:
    """The graphs with their entries. A prompt of the decoder is at most a chunk, what follows comes token by token."""
    chunks = {"prefill": options.chunk, "decode": 1}
    stages: list[Stage] = []
    for file, graph in zip(folder.files, graphs, strict=True):
        chunk = chunks.get(file.entry)
        own = replace(options, max_context=context, chunk=chunk or options.chunk, longest_run=chunk)
        facts = {"file": file.name, "table_rows": table_rows(graph)}
        stages.append(Stage(graph, own, file.entry, file.links, facts))
    return stages


def _contexts(graphs: Sequence[tuple[str, Graph]], wanted: int | None) -> list[int]:
    """Attended lengths to try, the longest first; only the wanted one when the user gave one."""
    limits = {limit: name for name, graph in reversed(graphs) if (limit := table_limit(graph)) is not None}
    limit = min(limits, default=None)
    if wanted is None:
        contexts = [min(DEFAULT_MAX_CONTEXT, limit or DEFAULT_MAX_CONTEXT)]
        while contexts[-1] >= 2 * _LEAST_CONTEXT:
            contexts.append(contexts[-1] // 2)
        return contexts
    if limit is not None and wanted > limit:
        raise UnsupportedError(
            f"a context of {wanted} tokens is longer than the model's position table with {limit} rows",
            Place(limits[limit]),
            help=f"give --max-context {limit} or less; an evaluation asks for them by --contexts and --window",
        )
    return [wanted]


def table_limit(graph: Graph) -> int | None:
    """Rows of the smallest table that is looked up by a position, `None` when there is none.

    Tables are found by what the import demands of the lengths, and by the lookups themselves.
    """
    rows = [
        int(str(node.operand(0).shape[0]))
        for node in graph.nodes
        if node.op == "gather" and node.operand(0).is_constant and _is_position(node.operand(1))
    ]
    for demand in graph.facts["frontend"].demands:
        if isinstance(demand.larger, int) and isinstance(demand.smaller, Affine):
            rows.append(demand.larger - demand.smaller.constant)
    return min(rows, default=None)


_KEEPS_ORDER = frozenset({"add", "sub", "cast", "reshape", "expand", "identity", "transpose", "slice"})
"""Operations that leave positions as far apart as they were."""


def _is_position(value: Value) -> bool:
    """Whether the integers count up with a range over the tokens, or with an input that is named after positions."""
    waiting = [value]
    while waiting:
        current = waiting.pop()
        node: Node | None = current.producer
        if node is None:
            if not current.is_constant and "position" in current.name:
                return True
        elif node.op == "range":
            return True
        elif node.op in _KEEPS_ORDER:
            waiting += [operand for operand in node.inputs if operand is not None]
    return False


def _metadata(name: str, sha256: str) -> dict[str, Any]:
    """Where the program came from."""
    try:
        own = version("pimc")
    except PackageNotFoundError:
        own = "checkout"
    return {"model": Path(name).name, "model_sha256": sha256, "versions": {"pimc": own}}
