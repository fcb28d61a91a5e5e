"""The dataflow graph and everything that rewrites it."""

from passes.assign_storage import Storage
from passes.binarize_attention import BinarizeAttention
from passes.cache_storage import Stored, cache_facts, cache_from_facts, stored
from passes.choose_units import ChooseUnits
from passes.decompose_attention import DecomposeAttention
from passes.dims import Affine, Dim, bind, product, symbol
from passes.dims import parse as parse_dim
from passes.explain import Finding, explain, recognised_counts
from passes.interpreter.interpret import apply_operation, evaluate, interpret
from passes.interpreter.selection_error import SelectionError
from passes.interpreter.symbols import Caches, bind_symbols, cached_tokens, selection_errors
from passes.ir import Cache, Graph, Node, TensorType, Value, cache_stem, constant_scalar
from passes.kv_compression import KVCompression, compressible
from passes.kv_policies import (
    POLICIES,
    BestKeys,
    BestPages,
    BinaryKeys,
    Compression,
    KvSpecification,
    LayerEncoding,
    Levelled,
    Parameter,
    Policy,
    Quantized,
    Ring,
    Scored,
    describe_compression,
    first_effect,
    layer_encoding,
    load_kv,
    parameters,
    parse_kv,
    suggestion,
    thorough_length,
)
from passes.manager import Observer, Pass, PassManager, PassReport
from passes.matrix_layout import MatrixLayout, Tile, matrix_layout
from passes.ops import EXCLUDED_BELOW, FLOAT_DTYPES, OPS, OpSpec
from passes.pipelines import PASSES, PIPELINES, binarizing, compressing, decomposing, parse_pipeline, pipeline
from passes.place_weights import PlacedMatrix, Placement, PlaceWeights, place_together
from passes.recognition.mask_sources import mask_input
from passes.text import large_constants, parse_graph, print_graph
from passes.units.array_limits import columns_problem
from passes.units.array_tiles import ArrayTile, array_tiles
from passes.units.search_limits import search_demands, search_problem, size_problems
from passes.units.unit_choice import UnitChoice, UnitSpecification, block_facts, parse_units
from passes.verifier.verify import LEVELS, verify
from passes.weight_uses import is_bank_table

__all__ = [
    "EXCLUDED_BELOW",
    "FLOAT_DTYPES",
    "LEVELS",
    "OPS",
    "PASSES",
    "PIPELINES",
    "POLICIES",
    "Affine",
    "ArrayTile",
    "BestKeys",
    "BestPages",
    "BinarizeAttention",
    "BinaryKeys",
    "Cache",
    "Caches",
    "ChooseUnits",
    "Compression",
    "DecomposeAttention",
    "Dim",
    "Finding",
    "Graph",
    "KVCompression",
    "KvSpecification",
    "LayerEncoding",
    "Levelled",
    "MatrixLayout",
    "Node",
    "Observer",
    "OpSpec",
    "Parameter",
    "Pass",
    "PassManager",
    "PassReport",
    "PlaceWeights",
    "PlacedMatrix",
    "Placement",
    "Policy",
    "Quantized",
    "Ring",
    "Scored",
    "SelectionError",
    "Storage",
    "Stored",
    "TensorType",
    "Tile",
    "UnitChoice",
    "UnitSpecification",
    "Value",
    "apply_operation",
    "array_tiles",
    "binarizing",
    "bind",
    "bind_symbols",
    "block_facts",
    "cache_facts",
    "cache_from_facts",
    "cache_stem",
    "cached_tokens",
    "columns_problem",
    "compressible",
    "compressing",
    "constant_scalar",
    "decomposing",
    "describe_compression",
    "evaluate",
    "explain",
    "first_effect",
    "interpret",
    "is_bank_table",
    "large_constants",
    "layer_encoding",
    "load_kv",
    "mask_input",
    "matrix_layout",
    "parameters",
    "parse_dim",
    "parse_graph",
    "parse_kv",
    "parse_pipeline",
    "parse_units",
    "pipeline",
    "place_together",
    "print_graph",
    "product",
    "recognised_counts",
    "search_demands",
    "search_problem",
    "selection_errors",
    "size_problems",
    "stored",
    "suggestion",
    "symbol",
    "thorough_length",
    "verify",
]
