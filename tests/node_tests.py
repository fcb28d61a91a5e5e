"""The conformance cases of the onnx package, one by one: passed, refused for a listed reason, or failed.

    python -m tests.node_tests [--only OPERATOR] [--through importer|passes|simulator] [-o docs/operators.md]

Ends with exit code 1 when a case failed.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from isa import InputError, UnsupportedError
from passes import PassManager, interpret, pipeline, verify
from pimc.frontend import import_model
from pimc.frontend.folding import FOLDED
from pimc.frontend.operators import IMPORTERS
from pimc.frontend.tensors import PACKED_BITS

Arrays = Mapping[str, np.ndarray]
Evaluate = Callable[[onnx.ModelProto, Arrays], Arrays]
"""Outputs by name of a model for inputs by name; may raise `UnsupportedError`."""

STATIC_OPERANDS = {
    "ConstantOfShape": (0,),
    "CumSum": (1,),
    "Expand": (1,),
    "If": (0,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
}
"""Operands that decide shapes: given as weights, since a compiled program's shapes do not depend on data. Operands of 2
and 4 bits are given as weights, too."""

REFUSALS = (
    (r"the element type (INT16|UINT16|UINT32|UINT64)\b", "integers of 16 bits, unsigned ones of 32 and 64 bits"),
    (r"the element type (INT4|UINT4|INT2|UINT2)\b", "integers of 2 and 4 bits outside of weights"),
    (r"the element type FLOAT(8|4)", "floats of 4 and 8 bits"),
    (r"the element type (STRING|COMPLEX)", "strings and complex numbers"),
    (r"quantising to int(2|4|16|32)|quantising to uint(2|4|16)", "quantisation to other types than int8 and uint8"),
    (r"sequences are not|is not a tensor of known rank", "sequences, optional values, tensors of unknown rank"),
    (r"Dropout has no attribute 'ratio'", "operators as they were before operator set 13"),
    (r"in training mode|mask of Dropout|random numbers", "training"),
    (r"positions that MaxPool", "positions of pooled elements"),
    (r"nodes? ha(s an operator that is|ve operators that are) not supported", "operators without an importer"),
)
"""Patterns of messages, and what such a refusal is about: everything else that is refused counts as failed."""

RELATIVE_TOLERANCE = {"float16": 4e-3, "bfloat16": 2e-2}
"""Half precision: the cases' references round at other places, by one or two units in the last place."""


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        case: Its name.
        operator: The operator that it tests.
        verdict: `passed`, `refused` or `failed`.
        reason: Why it was refused or how it failed.
    """

    case: str
    operator: str
    verdict: str
    reason: str = ""


@cache
def _every_case() -> list[Any]:
    """All cases of the installed onnx package; it makes them in 6 s."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_model_tests(kind="node")


def load_cases(expanded: bool = False) -> list[Any]:
    """The plain cases, of one node each; or those whose node is replaced by its definition in the standard."""
    return [case for case in _every_case() if ("_expanded" in case.name) == expanded]


def evaluate_graph(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    """Import a model, check the graph, and run it with the graph interpreter."""
    graph = import_model(model)
    verify(graph, "imported")
    return interpret(graph, {value.name: inputs[value.name] for value in graph.inputs})


def evaluate_fused(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    """The same after the default passes."""
    graph = import_model(model)
    PassManager(pipeline("default")).run(graph)
    names = {value.name for value in graph.inputs}
    names |= {name for cache in graph.caches.values() for name in (cache.past_key, cache.past_value) if name}
    return interpret(graph, {name: array for name, array in inputs.items() if name in names})


def evaluate_on_simulator(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    """Compile a model for a bundled machine, in binary32, and run the program."""
    import pimc
    from pimc.simulator import Session

    machine = pimc.load_machine("gddr6-aim")
    program = pimc.compile(model, machine, numerics="fp32")
    names = {port.name for port in program.ports if port.direction == "input"}
    return Session(program, machine).run({name: array for name, array in inputs.items() if name in names})


_EVALUATIONS: dict[str, Evaluate] = {
    "importer": evaluate_graph,
    "passes": evaluate_fused,
    "simulator": evaluate_on_simulator,
}


def operator_of(case: Any) -> str:
    """Operator that a case tests, with its domain unless that is the standard one."""
    node = case.model.graph.node[-1]
    return f"{node.domain}::{node.op_type}" if node.domain else str(node.op_type)


def outcome(case: Any, evaluate: Evaluate = evaluate_graph) -> Outcome:
    """Run one case."""
    operator = operator_of(case)
    try:
        wrong = _differences(case, evaluate)
    except (UnsupportedError, InputError) as problem:
        reason = next((text for pattern, text in REFUSALS if re.search(pattern, problem.message)), None)
        if reason is None:
            return Outcome(case.name, operator, "failed", f"refused without a listed reason: {problem.message}")
        return Outcome(case.name, operator, "refused", reason)
    except Exception as problem:
        return Outcome(case.name, operator, "failed", f"{type(problem).__name__}: {problem}")
    return Outcome(case.name, operator, "failed" if wrong else "passed", "; ".join(wrong))


def _differences(case: Any, evaluate: Evaluate) -> list[str]:
    """What is wrong with the results of a case."""
    wrong: list[str] = []
    for given, wanted in case.data_sets:
        names = [info.name for info in case.model.graph.input]
        values = dict(zip(names, given, strict=False))
        if any(isinstance(value, (list, type(None))) for value in (*values.values(), *wanted)):
            raise UnsupportedError("sequences are not tensors")
        inputs = {name: _array(value) for name, value in values.items()}
        model = _compilable(case.model, inputs)
        results = evaluate(model, inputs)
        for info, value in zip(model.graph.output, wanted, strict=True):
            wrong += _difference(info.name, results[info.name], _array(value), case)
    return wrong


def _array(value: object) -> np.ndarray:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _compilable(model: onnx.ModelProto, inputs: Arrays) -> onnx.ModelProto:
    """The model with the operands that decide shapes as weights, and in operator set 13 when it is older."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for node in changed.graph.node:
        axes = (1,) if node.op_type.startswith("Reduce") else ()
        static = range(len(node.input)) if node.op_type in FOLDED else STATIC_OPERANDS.get(node.op_type, axes)
        for index in static:
            if index < len(node.input) and node.input[index] in inputs:
                name = node.input[index]
                changed.graph.initializer.append(onnx.numpy_helper.from_array(inputs[name], name))
    for info in model.graph.input:
        if info.type.tensor_type.elem_type in PACKED_BITS:
            changed.graph.initializer.append(onnx.numpy_helper.from_array(inputs[info.name], info.name))
    for entry in changed.opset_import:
        entry.version = max(entry.version, 13) if entry.domain == "" else entry.version
    return changed


def _difference(name: str, result: np.ndarray, wanted: np.ndarray, case: Any) -> list[str]:
    if (result.dtype, result.shape) != (wanted.dtype, wanted.shape):
        return [f"{name}: {result.dtype}{result.shape} instead of {wanted.dtype}{wanted.shape}"]
    tolerance = case.rtol if wanted.dtype.itemsize > 2 else 0
    relative = max(RELATIVE_TOLERANCE.get(wanted.dtype.name, 1e-5), tolerance)
    wide, reference = result.astype(np.float64), wanted.astype(np.float64)
    close = np.allclose(wide, reference, rtol=relative, atol=1e-6, equal_nan=True)
    return [] if close else [f"{name}: differs by up to {np.nanmax(np.abs(wide - reference))}"]


def supported_operators() -> set[str]:
    """Operators of the standard domain that are imported or computed at compile time."""
    return {name for domain, name in IMPORTERS if domain == ""} | FOLDED | {"If"}


_ABOUT = f"""\
# Operators

Printed by `python -m tests.node_tests -o docs/operators.md`: the plain conformance cases of onnx {onnx.__version__},
compiled for `gddr6-aim` in binary32 and run on the simulator. `passed` cases agree with the case's own reference;
`refused` ones end with an error that says why; none may fail. Operators in *italics* are computed at compile time, from
known operands alone.

Values of the types float16 and bfloat16 are binary32 words on the machine: a conversion to such a type rounds as the
standard says, but arithmetic on such values is not rounded again after every operation. The operations that a model
chains in half precision are therefore nearer to the exact result than a reference that rounds each of them, to
2^-11 (float16) or 2^-8 (bfloat16) relative; the float16 graphs of docs/coverage.md show what becomes of whole models.

"""


def _name(operator: str) -> str:
    return f"*{operator}*" if operator in FOLDED else operator


def document(outcomes: Sequence[Outcome]) -> str:
    """The tables as Markdown."""
    supported = supported_operators()
    rows = [("operator", "passed", "refused", "failed", "what is refused")]
    for operator in sorted(supported):
        own = [found for found in outcomes if found.operator == operator]
        verdicts = Counter(found.verdict for found in own)
        reasons = ", ".join(sorted({found.reason for found in own if found.verdict == "refused"}))
        counts = (str(verdicts[name]) for name in ("passed", "refused", "failed"))
        rows.append((_name(operator), *counts, reasons))
    others = Counter(found.operator for found in outcomes if found.operator not in supported)
    listed = ", ".join(f"{operator} ({count})" for operator, count in sorted(others.items()))
    contributed = ", ".join(f"`{name}`" for domain, name in sorted(IMPORTERS) if domain == "com.microsoft")
    return (
        f"{_ABOUT}{_table(rows)}\n\n## Refused\n\nOut of scope, with the number of cases:\n\n{_refusals(outcomes)}\n\n"
        f"Operators that are refused by name, with the number of their cases: {listed}.\n\n"
        f"## Operators of the domain com.microsoft\n\n{contributed}\n"
    )


def _refusals(outcomes: Iterable[Outcome]) -> str:
    counts = Counter(found.reason for found in outcomes if found.verdict == "refused")
    return "\n".join(f"- {reason}: {count}" for reason, count in counts.most_common())


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def closing_line(outcomes: Sequence[Outcome]) -> str:
    """How many passed, were refused and failed."""
    verdicts = Counter(found.verdict for found in outcomes)
    counts = ", ".join(f"{verdicts[name]} {name}" for name in ("passed", "refused", "failed"))
    return f"{len(outcomes)} cases: {counts}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases, print or write the tables, and give the exit code."""
    parser = argparse.ArgumentParser(description="the conformance cases of the onnx package")
    parser.add_argument("--only", metavar="OPERATOR", help="cases of one operator")
    parser.add_argument(
        "--through", choices=list(_EVALUATIONS), default="simulator", help="how far the cases go (default simulator)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="file for the tables (default: standard output)")
    options = parser.parse_args(arguments)
    cases = [case for case in load_cases() if options.only in (None, operator_of(case))]
    outcomes = [outcome(case, _EVALUATIONS[options.through]) for case in cases]
    if options.output:
        Path(options.output).write_text(document(outcomes), encoding="utf-8")
    elif options.only:
        print("\n".join(f"{found.verdict:8} {found.case}  {found.reason}".rstrip() for found in outcomes))
    else:
        print(document(outcomes))
    failed = [found for found in outcomes if found.verdict == "failed"]
    for found in failed:
        print(f"failed: {found.case}: {found.reason}", file=sys.stderr)
    print(closing_line(outcomes), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
