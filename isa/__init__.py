"""The contract between compiler and simulator: instruction table, text, binary, machine descriptions."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from isa.costs import (
    accumulator_reads,
    beat_ranges,
    beats_per_column,
    codec_cycles,
    mac_stream_cycles,
    record_bytes,
    register_visit_cycles,
    row_overhead_cycles,
    row_sweep_cycles,
    vector_cycles,
    vector_function,
)
from isa.digital_cim_instructions import FULL_ACTIVITY
from isa.digital_cim_instructions import MATRICES as DIGITAL_CIM_MATRICES
from isa.errors import (
    AssemblyError,
    EncodingError,
    GraphError,
    InputError,
    MachineError,
    MismatchError,
    MissingPackageError,
    PimcError,
    Place,
    ProgramError,
    ResourceLimitError,
    UnsupportedError,
)
from isa.host_layouts import CACHE_LAYOUTS, cache_columns
from isa.instructions import INSTRUCTIONS
from isa.operands import COMPARISONS, VECTOR_FUNCTIONS, WORD_TYPES
from isa.output_files import check_output, write_atomically
from isa.program import (
    Entry,
    Indexed,
    Instruction,
    OperandValue,
    Port,
    Program,
    Region,
    RegisterLimit,
    RegisterSymbol,
    Segment,
    Source,
    Symbol,
    instruction,
)
from isa.spec import REGISTER_COUNT, InstructionSpec, Kind, Operand
from isa.units import UNITS, Duration, Unit, UnitComponent
from isa.verification.control_flow import control_flow_errors, loop_ends

if TYPE_CHECKING:
    from isa.assembly.assembler import assemble
    from isa.assembly.disassembler import disassemble, save_assembly
    from isa.assembly.instruction_text import InstructionFormat, format_instruction, labels_of
    from isa.cam import Cam, CamModule, CamModules
    from isa.container import load_program, save_program
    from isa.crossbar import Crossbar
    from isa.digital_cim import DigitalCim, PublishedCim
    from isa.dram_device import AttaccController, DramDevice, HbmPimController
    from isa.encoding import decode_instructions, encode_instructions
    from isa.hybrid_softmax import HybridSoftmax
    from isa.instruction_manual import EXTENSIONS, manual, syntax
    from isa.kv_codec import KvCodec
    from isa.machine import Machine
    from isa.machine_loader import load_machine, machine_names, machine_schema
    from isa.machine_lookup import machine_metadata, program_machine
    from isa.near_bank import NearBank
    from isa.sections import section_errors
    from isa.verification.verifier import Diagnostic, check_program, require_valid
    from isa.yaml_loader import YamlFile, parse_yaml, read_yaml

_LAZY = {
    "EXTENSIONS": "isa.instruction_manual",
    "manual": "isa.instruction_manual",
    "syntax": "isa.instruction_manual",
    "InstructionFormat": "isa.assembly.instruction_text",
    "format_instruction": "isa.assembly.instruction_text",
    "labels_of": "isa.assembly.instruction_text",
    "Diagnostic": "isa.verification.verifier",
    "check_program": "isa.verification.verifier",
    "require_valid": "isa.verification.verifier",
    "assemble": "isa.assembly.assembler",
    "disassemble": "isa.assembly.disassembler",
    "save_assembly": "isa.assembly.disassembler",
    "decode_instructions": "isa.encoding",
    "encode_instructions": "isa.encoding",
    "load_program": "isa.container",
    "save_program": "isa.container",
    "section_errors": "isa.sections",
    "AttaccController": "isa.dram_device",
    "Cam": "isa.cam",
    "CamModule": "isa.cam",
    "CamModules": "isa.cam",
    "DramDevice": "isa.dram_device",
    "HbmPimController": "isa.dram_device",
    "Crossbar": "isa.crossbar",
    "DigitalCim": "isa.digital_cim",
    "HybridSoftmax": "isa.hybrid_softmax",
    "PublishedCim": "isa.digital_cim",
    "KvCodec": "isa.kv_codec",
    "Machine": "isa.machine",
    "NearBank": "isa.near_bank",
    "YamlFile": "isa.yaml_loader",
    "load_machine": "isa.machine_loader",
    "machine_names": "isa.machine_loader",
    "machine_schema": "isa.machine_loader",
    "machine_metadata": "isa.machine_lookup",
    "program_machine": "isa.machine_lookup",
    "parse_yaml": "isa.yaml_loader",
    "read_yaml": "isa.yaml_loader",
}
"""Names whose modules import a heavy package; they load at the first use."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'isa' has no attribute '{name}'")
    module = import_module(_LAZY[name])
    # The import binds the submodule itself here, maybe over one of these names: `manual` is both.
    globals().update({each: getattr(module, each) for each, home in _LAZY.items() if home == _LAZY[name]})
    return globals()[name]


__all__ = [
    "CACHE_LAYOUTS",
    "COMPARISONS",
    "DIGITAL_CIM_MATRICES",
    "EXTENSIONS",
    "FULL_ACTIVITY",
    "INSTRUCTIONS",
    "REGISTER_COUNT",
    "UNITS",
    "VECTOR_FUNCTIONS",
    "WORD_TYPES",
    "AssemblyError",
    "AttaccController",
    "Cam",
    "CamModule",
    "CamModules",
    "Crossbar",
    "Diagnostic",
    "DigitalCim",
    "DramDevice",
    "Duration",
    "EncodingError",
    "Entry",
    "GraphError",
    "HbmPimController",
    "HybridSoftmax",
    "Indexed",
    "InputError",
    "Instruction",
    "InstructionFormat",
    "InstructionSpec",
    "Kind",
    "KvCodec",
    "Machine",
    "MachineError",
    "MismatchError",
    "MissingPackageError",
    "NearBank",
    "Operand",
    "OperandValue",
    "PimcError",
    "Place",
    "Port",
    "Program",
    "ProgramError",
    "PublishedCim",
    "Region",
    "RegisterLimit",
    "RegisterSymbol",
    "ResourceLimitError",
    "Segment",
    "Source",
    "Symbol",
    "Unit",
    "UnitComponent",
    "UnsupportedError",
    "YamlFile",
    "accumulator_reads",
    "assemble",
    "beat_ranges",
    "beats_per_column",
    "cache_columns",
    "check_output",
    "check_program",
    "codec_cycles",
    "control_flow_errors",
    "decode_instructions",
    "disassemble",
    "encode_instructions",
    "format_instruction",
    "instruction",
    "labels_of",
    "load_machine",
    "load_program",
    "loop_ends",
    "mac_stream_cycles",
    "machine_metadata",
    "machine_names",
    "machine_schema",
    "manual",
    "parse_yaml",
    "program_machine",
    "read_yaml",
    "record_bytes",
    "register_visit_cycles",
    "require_valid",
    "row_overhead_cycles",
    "row_sweep_cycles",
    "save_assembly",
    "save_program",
    "section_errors",
    "syntax",
    "vector_cycles",
    "vector_function",
    "write_atomically",
]
