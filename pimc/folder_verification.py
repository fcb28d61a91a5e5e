"""Comparison of a program of several models with ONNX Runtime, which runs the models one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isa import Port, Program
from passes import cache_stem
from pimc.folder_runs import Case, Run, given_runs, seeded_runs
from pimc.model_folder import ModelFolder, input_shapes
from pimc.model_inputs import is_mask
from pimc.verification import OutputError, Verification, output_error

if TYPE_CHECKING:
    from pimc.simulator import Session

Array = NDArray[Any]

_LOG = logging.getLogger(__name__)


CASES = (Case(6, 1, 4), Case(1, 1, 1), Case(17, 5, 2), Case(5, 19, 2), Case(12, 2, 2, padding=5))
"""The fourth prompt is longer than one run of the decoder takes."""


def verify_folder(
    program: Program,
    session: Session,
    folder: ModelFolder,
    inputs: Mapping[str, Array] | None = None,
    rtol: float | None = 1e-4,
    seed: int = 0,
    show: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Compare a program with the models it came from: encode, prefill and several decode steps for each case.

    Args:
        program: The compiled folder.
        session: The program, loaded into the simulator.
        folder: The models.
        inputs: Arrays by `ENTRY/NAME`, for one run of each entry; `None` makes seeded ones of several shapes.
        rtol: Largest error allowed, relative to the largest magnitude of the reference output; `None`: by cosine.
        seed: Of the inputs.
        show: Gets one line about the progress before every case.

    Returns:
        The comparison; outputs are called `ENTRY/NAME`.

    Raises:
        InputError: inputs have names that no entry has.
    """
    comparison = FolderComparison.of(program, session, folder)
    if inputs is not None:
        comparison.run(given_runs(program, inputs))
        lines = ["the given inputs"]
    else:
        generator = np.random.default_rng(seed)
        cases = [case for case in CASES if _fits(program, case)]
        lines = [str(case) for case in cases]
        for number, (case, line) in enumerate(zip(cases, lines, strict=True), start=1):
            _LOG.info("case %d: %s", number, line)
            show(f"case {number} of {len(cases)}: {line}")
            comparison.run(seeded_runs(program, case, generator))
    outputs = tuple(comparison.errors.values())
    return Verification(outputs, rtol, tuple(lines))


def _fits(program: Program, case: Case) -> bool:
    """Whether a case is within the context, and has a mask where it needs one."""
    masks = any(is_mask(port) for port in program.ports if port.direction == "input")
    longest = int(program.metadata["max_context"])
    is_short = case.encoded <= longest and case.prompt + case.decoded <= longest
    return is_short and (masks or not case.padding)


class EntryReference(Protocol):
    """What the outputs of one entry should be."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that it takes."""
        ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; inputs with other names are passed over."""
        ...


@dataclass
class FolderComparison:
    """Runs a program and its models side by side and keeps the worst error of every output.

    Attributes:
        program: The program.
        session: The program on the simulator.
        references: The models by entry, on ONNX Runtime or in numpy.
        folder: The models' files.
        errors: Worst errors so far, by `ENTRY/NAME`.
    """

    program: Program
    session: Session
    references: Mapping[str, EntryReference]
    folder: ModelFolder
    errors: dict[str, OutputError] = field(default_factory=dict[str, OutputError])

    @classmethod
    def of(cls, program: Program, session: Session, folder: ModelFolder) -> FolderComparison:
        """A comparison with the models of a folder; raises what `Reference` raises."""
        from pimc.reference import Reference

        references = {file.entry: Reference(file.model.name, file.bind) for file in folder.files}
        return cls(program, session, references, folder)

    def run(self, runs: Sequence[Run] | Iterator[Run]) -> None:
        """Run entries one after another from empty caches, and compare after each."""
        self.session.reset()
        outputs: dict[str, Array] = {}
        caches: dict[str, Array] = {}
        for entry, inputs in runs:
            part = self.program.part(entry)
            found = self.session.run(inputs, entry=entry)
            resident = {
                port.name: outputs[port.filled_by] if port.filled_by in outputs else caches[cache_stem(port.name)]
                for port in part.ports
                if port.filled_by and (port.filled_by in outputs or cache_stem(port.name) in caches)
            }
            resident |= {
                name: caches[stem] for name in self.references[entry].inputs if (stem := cache_stem(name)) in caches
            }
            expected = self.references[entry].run({**self._unread(entry, inputs), **resident, **inputs})
            outputs |= {f"{entry}/{name}": array for name, array in expected.items() if not name.startswith("present")}
            caches |= {
                cache_stem(name): array for name, array in expected.items() if name.startswith("present") and array.size
            }
            self._compare(entry, part.ports, inputs, found, expected)

    def _unread(self, entry: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Zeros for the inputs of a merged decoder that only its other branch reads."""
        file = next(file for file in self.folder.files if file.entry == entry)
        batch = len(next(iter(inputs.values()))) if inputs else 1
        return {
            name: np.zeros((batch, *(dim if isinstance(dim, int) else 1 for dim in shape[1:])), np.float32)
            for name, shape in input_shapes(file.model.proto).items()
            if file.bind and name not in file.bind and name not in inputs
        }

    def _compare(
        self,
        entry: str,
        ports: Sequence[Port],
        inputs: Mapping[str, Array],
        found: Mapping[str, Array],
        expected: Mapping[str, Array],
    ) -> None:
        by_name = {port.name: port for port in ports if port.direction == "output"}
        for name, array in expected.items():
            kept = _attended(by_name[name], ports, inputs)
            pair = (found[name][kept], array[kept]) if array.size else (array, array)
            error = output_error(f"{entry}/{name}", *pair)
            self.errors[error.name] = self.errors.get(error.name, error).worst(error)


def _attended(output: Port, ports: Sequence[Port], inputs: Mapping[str, Array]) -> Any:
    """Index of the positions of an output that a mask of the same length keeps; others may hold anything."""
    for port in ports:
        mask = inputs.get(port.name) if port.direction == "input" and is_mask(port) else None
        rank = len(output.shape)
        if mask is not None and mask.ndim == 2 and rank > 2 and output.shape[rank - 2] == port.shape[-1]:
            sequences, positions = np.nonzero(mask)
            return (sequences, *(slice(None),) * (rank - 3), positions)
    return ...
