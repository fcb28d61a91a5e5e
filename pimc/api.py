"""The Python interface: compile, simulate, verify in one call each."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from isa import Machine, MissingPackageError, Program, load_machine, load_program, program_machine
from pimc.compiler import compile_model
from pimc.folder_policies import verify_folder_policies
from pimc.folder_verification import verify_folder
from pimc.model_folder import load_folder
from pimc.observing import Record
from pimc.policy_verification import verify_policies
from pimc.reference import Reference, import_runtime
from pimc.report.run import summary_rows
from pimc.verification import Verification, default_tolerance, verify_program

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]

_SHOWN_OUTPUTS = 4


@dataclass(frozen=True, eq=False)
class Run:
    """Outcome of a simulation.

    Attributes:
        outputs: Arrays by ONNX output name.
        stats: Statistics as nested JSON values, units in the keys: `cycles`, `time_s`, `energy_j`,
            `energy_by_unit_j`, `utilization_by_unit`, `bound`, `nodes`, `provenance`, ...
    """

    outputs: Mapping[str, Array]
    stats: Mapping[str, Any]

    def __repr__(self) -> str:
        """Shapes of the outputs, time and energy in one line."""
        arrays = [f"{name} {array.dtype}{list(array.shape)}" for name, array in self.outputs.items()]
        shown = ", ".join(arrays[:_SHOWN_OUTPUTS]) or "no outputs"
        more = f" and {len(arrays) - _SHOWN_OUTPUTS} more" if len(arrays) > _SHOWN_OUTPUTS else ""
        facts = f"{self.stats['cycles']} cycles, {self.stats['time_s']:.3g} s, {self.stats['energy_j']:.3g} J"
        return f"<Run: {shown}{more}; {facts}>"

    def to_dataframe(self) -> Any:
        """Cycles and energy of every graph node as a pandas `DataFrame`.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        try:
            pandas: Any = import_module("pandas")
        except ImportError:
            raise MissingPackageError("to_dataframe needs the package pandas", help="pip install pandas") from None
        return pandas.DataFrame(self.stats["nodes"])

    def _repr_html_(self) -> str:
        """The summary as a table, which notebooks show."""
        cells = "".join(
            f"<tr><td>{html.escape(name)}</td><td style='text-align:right'>{html.escape(value)}</td></tr>"
            for name, value in summary_rows(self.stats)
        )
        return f"<table>{cells}</table>"


def compile(
    model: str | Path | onnx.ModelProto,
    machine: str | Path | Machine = "gddr6-aim",
    dims: Mapping[str, int] | None = None,
    kv: str | None = None,
    max_context: int | None = None,
    numerics: str = "machine",
    pipeline: str | None = None,
    optimize: bool = True,
    bind: Mapping[str, Any] | None = None,
    units: str | None = None,
) -> Program:
    """Compile an ONNX model to a program.

    Args:
        model: Path of the model or of an encoder-decoder's folder, or the model itself.
        machine: Name of a bundled machine, path of a description, or a machine.
        dims: Numbers for symbolic dimensions.
        kv: Policies that compress the KV cache, as `kivi:bits=4 ; none @ 0-1` (see `pimc policies`), or `@FILE`.
        max_context: Longest attended length, for which the KV cache is reserved.
        numerics: `machine` stores and rounds as the hardware does, `fp32` computes in binary32 throughout.
        pipeline: Passes to run, as `a,b{x=1},c`.
        optimize: Whether to run the optional passes.
        bind: Values by name of the inputs that become constants, as `{"use_cache_branch": True}`.
        units: Units that blocks run on, where the machine has several, as `products=crossbar,attention=banks`; default:
            what costs least.

    Raises:
        PimcError: the model, an option or the machine is refused.
    """
    return compile_model(
        model, _machine(machine), dims, max_context, numerics, pipeline, optimize, bind=bind, kv=kv, units=units
    )


def simulate(
    program: Program | str | Path,
    inputs: Mapping[str, Array],
    machine: str | Path | Machine | None = None,
    outputs: Sequence[str] | None = None,
    entry: str | None = None,
) -> Run:
    """Run a program once, from the cache that the inputs bring or an empty one.

    Args:
        program: A program, or the path of a `.pim` file.
        inputs: Arrays by ONNX input name.
        machine: The machine; default: the one that the program was compiled for.
        outputs: ONNX output names to read back; default: all.
        entry: `decode`, `prefill` or `encode`; default: by the inputs.

    Raises:
        PimcError: the program, the machine or the inputs are refused.
    """
    from pimc.simulator import Session

    loaded = program if isinstance(program, Program) else load_program(program)
    session = Session(loaded, _machine(machine) if machine is not None else program_machine(loaded))
    found = session.run(inputs, outputs, entry)
    return Run(found, session.statistics.to_json())


def verify(
    model: str | Path | onnx.ModelProto,
    machine: str | Path | Machine = "gddr6-aim",
    dims: Mapping[str, int] | None = None,
    inputs: Mapping[str, Array] | None = None,
    max_context: int | None = None,
    numerics: str = "fp32",
    rtol: float | None = None,
    seed: int = 0,
    bind: Mapping[str, Any] | None = None,
    kv: str | None = None,
    units: str | None = None,
) -> Verification:
    """Compile a model, run it, and compare every output with ONNX Runtime.

    Args:
        model: Path of the model or of an encoder-decoder's folder, or the model itself.
        machine: Name of a bundled machine, path of a description, or a machine.
        dims: Numbers for symbolic dimensions.
        inputs: Arrays by ONNX input name, of a folder by `ENTRY/NAME`; default: seeded ones of several shapes.
        max_context: Longest attended length.
        numerics: `fp32` proves the compilation right; `machine` shows what the hardware's rounding does.
        rtol: Largest error allowed, relative to the largest magnitude of the output; default: 1e-4 for `fp32` (5e-3
            with policies that encode or select), and for `machine` none, but a cosine of at least 0.999.
        seed: Of the inputs.
        bind: Values by name of the inputs that become constants.
        kv: Policies that compress the KV cache, as for `compile`: outputs are compared with their meaning in numpy
            instead of with ONNX Runtime.
        units: Units that blocks run on, as for `compile`.

    Raises:
        MissingPackageError: ONNX Runtime is not installed.
        PimcError: the model, an option or the machine is refused.
    """
    from pimc.simulator import Session

    if kv is None:
        import_runtime()
    target, record = _machine(machine), Record()
    program = compile_model(
        model, target, dims, max_context, numerics, observers=[record], bind=bind, kv=kv, units=units
    )
    session = Session(program, target)
    if kv is not None:
        if program.stages:
            folder = load_folder(str(model))
            return verify_folder_policies(program, session, folder, record.graphs, inputs, rtol, seed)
        return verify_policies(program, session, record.graphs[0], inputs, rtol, seed)
    rtol = default_tolerance(numerics) if rtol is None else rtol
    if program.stages:
        return verify_folder(program, session, load_folder(str(model)), inputs, rtol, seed)
    return verify_program(program, session, Reference(model, bind), inputs, rtol, seed)


def _machine(machine: str | Path | Machine) -> Machine:
    return machine if isinstance(machine, Machine) else load_machine(machine)
