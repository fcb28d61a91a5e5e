"""The host side: runs a program by the names of the ONNX model and keeps its KV cache from step to step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import (
    InputError,
    Machine,
    Port,
    Program,
    ProgramError,
    ResourceLimitError,
    UnsupportedError,
    program_machine,
    section_errors,
)
from pimc.simulator.accounting.energy import Accounting
from pimc.simulator.accounting.stats import Statistics, as_one_step, total
from pimc.simulator.host.inputs import (
    Request,
    cache_words,
    check_inputs,
    check_outputs,
    input_ports,
    output_ports,
    token_port,
)
from pimc.simulator.host.memory import (
    clear_cache,
    default_rows,
    from_rows,
    read_token_rows,
    read_whole,
    store_cache,
    token_rows,
    write_token_rows,
    write_whole,
)
from pimc.simulator.host.parts import part_of
from pimc.simulator.host.present import present_array
from pimc.simulator.host.prompt_pieces import is_too_long, joined, prompt_pieces
from pimc.simulator.host.symbols import bind_masks, bind_symbols, shape_of
from pimc.simulator.simulator import Simulator

Array = NDArray[Any]

_ROW_KINDS = ("tokens", "token_rows")
"""Kinds of ports that have a row for each token."""


class Session:
    """A program on a machine, seen from its ONNX inputs and outputs.

    A program of several models (`Program.stages`) has an entry for each, with the inputs and outputs of that model.
    What one entry leaves for another, as an encoder its output, stays in the machine and need not be given.

    Attributes:
        program: The program.
        simulator: The machine it runs on.
        timing_only: Whether runs leave out the data; outputs are then empty.
        kv_length: Tokens in the resident KV cache.
    """

    def __init__(
        self,
        program: Program,
        machine: Machine | None = None,
        timing_only: bool = False,
        accounting: Accounting = "faithful",
    ) -> None:
        """Load the program; `machine` defaults to the program's own, `accounting` as `Simulator`.

        Raises:
            MachineError: the program was compiled for another machine.
            ProgramError: its sections contradict each other, or do not fit the machine.
        """
        self.program = program
        target = machine if machine is not None else program_machine(program)
        self.simulator = Simulator(target, accounting)
        self.simulator.load(program)
        wrong = section_errors(program, target)
        if wrong:
            raise ProgramError("the program does not fit the host", notes=wrong)
        self.timing_only = timing_only
        self.kv_length = 0
        self._part = program  # what concerns the entry that runs
        self._filled: dict[str, tuple[int, ...]] = {}  # shapes of what entries have left for others, by `ENTRY/OUTPUT`
        self._stored = 0  # tokens of the cache's memory that may hold data; an encoder's do, though `kv_length` is 0
        self._steps: list[Statistics] = []
        self._loading: Statistics | None = None

    @property
    def loading(self) -> Statistics | None:
        """Statistics of writing constant matrices into arrays, which is done once; `None` before, or without any."""
        return self._loading

    @property
    def statistics(self) -> Statistics:
        """Statistics of the latest `run` or `step`.

        Raises:
            InputError: nothing has run yet.
        """
        if not self._steps:
            raise InputError("nothing has run yet, so there are no statistics")
        return self._steps[-1]

    @property
    def total(self) -> Statistics:
        """Sum of the statistics of all steps since the last `reset`."""
        if not self._steps:
            raise InputError("nothing has run yet, so there are no statistics")
        return total(self._steps)

    def reset(self) -> None:
        """Empty the KV cache and go back to cycle 0."""
        self.simulator.reset()
        self.kv_length = self._stored = 0
        self._filled.clear()
        self._steps.clear()
        self._loading = None

    def run(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        entry: str | None = None,
        last_only: bool = False,
    ) -> dict[str, Array]:
        """Run the model once.

        Tokens go behind those in the resident cache; `past` inputs, when given, replace the cache. A model without
        `past` inputs begins with an empty cache in every run. A prompt longer than the program's chunk is cut; that
        of a folder's decoder, whose `prefill` begins with an empty cache, goes on token by token in `decode`.

        Args:
            inputs: Arrays by ONNX input name.
            outputs: Names of the wanted outputs; `None` means all.
            entry: `decode`, `prefill` or `encode`; `None` chooses by the number of tokens, which a program of several
                models does not allow.
            last_only: Compute outputs of tokens for the last token only; their token axis has length 1 then.

        Returns:
            Arrays by ONNX output name, in the order of `outputs`.

        Raises:
            InputError: names, types or shapes that the model does not have.
            ResourceLimitError: the tokens do not fit the context or the program.
            UnsupportedError: `past` inputs with tokens for attention without a causal mask.
        """
        self._part = part_of(self.program, entry)
        request = check_inputs(self._part, inputs, self._resident())
        wanted = check_outputs(self._part, outputs)
        if self.program.stages and is_too_long(self._part, entry, request.tokens):
            return self._run_pieces(request, wanted, last_only)
        self._prepare_cache(request)
        return self._execute(request, wanted, entry, last_only)

    def _run_pieces(self, request: Request, wanted: Sequence[str], last_only: bool) -> dict[str, Array]:
        """Run a prompt that is too long for its entry, as one step."""
        self._check_context(0, request.tokens)
        begun, pieces = len(self._steps), prompt_pieces(self.program, request, wanted, last_only)
        results = [self.run(piece.arrays, piece.outputs, piece.entry, last_only) for piece in pieces]
        self._steps[begun:] = [as_one_step(total(self._steps[begun:]))]
        return {} if self.timing_only else joined(self.program, wanted, results)

    def step(self, token_ids: Sequence[int] | Array, outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Append tokens to the resident cache; outputs of the last one, as `run` with `last_only` gives them.

        A model without `past` inputs begins with an empty cache in every step, as in every `run`.
        All other inputs take their defaults: full masks, running positions, zeros. Without `outputs`, all outputs of
        tokens are computed, and the cache is not read back.

        Raises:
            InputError: `token_ids` are no integers, or the model has no input of token numbers.
            ResourceLimitError: the tokens do not fit the context.
        """
        ids = np.asarray(token_ids).reshape(-1)
        if ids.dtype.kind not in "iu" or not ids.size:
            raise InputError(f"token numbers are {ids.size} values of type {ids.dtype}", help="give integers")
        stages = self.program.stages
        self._part = part_of(self.program, "decode" if stages else None)
        port = token_port(self._part)
        shape = tuple(dim if isinstance(dim, int) else ids.size for dim in port.shape)
        arrays = {port.name: ids.astype(port.dtype).reshape(shape)}
        if stages:
            check_inputs(self._part, arrays, self._resident())
        request = Request(arrays, ids.size, None, bind_symbols(input_ports(self._part), arrays, {}))
        names = (
            outputs
            if outputs is not None
            else [name for name, each in output_ports(self._part).items() if each.kind != "present"]
        )
        wanted = check_outputs(self._part, names)
        self._prepare_cache(request)
        return self._execute(request, wanted, None, last_only=True)

    def _resident(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs that earlier runs of other entries have left in the machine, by name."""
        ports = input_ports(self._part)
        return {name: self._filled[port.filled_by] for name, port in ports.items() if port.filled_by in self._filled}

    def _note_filled(self, symbols: Mapping[str, int]) -> None:
        """Note what the run has left for other entries; what later ones had left is stale."""
        stages = self.program.stages
        for entry in self._part.entries if stages else ():
            earlier = stages[: stages.index(entry)]
            if entry != stages[-1]:
                self._filled = {name: kept for name, kept in self._filled.items() if name.partition("/")[0] in earlier}
            wanted = {port.filled_by for port in self.program.ports if port.kind != "past"}
            for name, port in output_ports(self._part).items():
                if f"{entry}/{name}" in wanted:
                    self._filled[f"{entry}/{name}"] = shape_of(port, symbols)

    def _prepare_cache(self, request: Request) -> None:
        """Bring the cache to the length with which the run begins, and its memory behind that to zero.

        Attention multiplies what lies behind the attended tokens by 0, so nothing that is not finite may stay there.
        Constant matrices are written into arrays before anything else.
        """
        if "load" in self.program.entries and self._loading is None:
            self._loading = self.simulator.run("load", {}, self.timing_only)
        ports = input_ports(self._part)
        if request.past and self._part.metadata.get("compressed_cache"):
            raise UnsupportedError(
                f"the cache inputs have {request.past} tokens, and the program compresses its cache",
                help="give the tokens themselves: the cache fills as they pass",
            )
        if request.past and "encode" in self._part.entries:
            raise UnsupportedError(
                f"the cache inputs have {request.past} tokens, and the model attends without a causal mask",
                help="give cache inputs without tokens",
            )
        past = request.past
        if past is None and not any(port.kind == "past" for port in ports.values()):
            past = 0
        if past is not None:
            self._check_context(past, request.tokens)
            self.kv_length = past
        if self._stored > self.kv_length and not self.timing_only:
            clear_cache(self.simulator.state, self._part.symbols, self.kv_length, self._stored)
        self._stored = self.kv_length
        for name, array in request.arrays.items():
            is_past = ports[name].kind == "past" and past
            if (is_past or ports[name].kind == "given") and not self.timing_only:
                store_cache(self.simulator.state, ports[name], self._part.symbol(ports[name].symbol), array)

    def _check_context(self, past: int, tokens: int) -> None:
        longest = self._part.metadata.get("max_context")
        if longest is not None and past + tokens > int(longest):
            raise ResourceLimitError(
                "the context is too long for the program",
                notes=[f"demand: {past} tokens in the cache and {tokens} new ones", f"bound: {longest} tokens"],
                help="compile with a larger --max-context",
            )

    def _execute(self, request: Request, wanted: Sequence[str], entry: str | None, last_only: bool) -> dict[str, Array]:
        self._check_context(self.kv_length, request.tokens)
        ports = output_ports(self._part)
        symbols = self._symbols(request)
        is_masked = self._write_whole_inputs(request, symbols)
        if is_masked and self._part.metadata.get("compressed_cache"):
            raise UnsupportedError(
                "the mask excludes tokens, and the program compresses its cache",
                help="give sequences without padding",
            )
        wants_rows = any(ports[name].kind in _ROW_KINDS for name in wanted)
        first_wanted = 0 if wants_rows and not last_only else request.tokens - (1 if wants_rows else 0)
        rows: dict[str, list[Array]] = {name: [] for name in wanted}
        runs: list[Statistics] = []
        start = 0
        while start < request.tokens:
            name, count = self._next_entry(entry, request.tokens - start, request.tokens)
            self._write_rows(request, start, count)
            first = min(max(first_wanted - start, 0), count)
            runs.append(self._run_entry(name, count, first, is_masked, symbols))
            if not self.timing_only:
                self._read_rows(rows, first, count)
            start += count
        self._note_filled(symbols)
        self._steps.append(as_one_step(total(runs)))
        return {} if self.timing_only else {name: self._output(name, rows[name], symbols) for name in wanted}

    def _symbols(self, request: Request) -> dict[str, int]:
        """Sizes of all dynamic dimensions: those of the arrays, the length of the resident cache, the tokens."""
        registers: Mapping[str, str] = self._part.metadata.get("symbols", {})
        host = {"kv_length": self.kv_length, "token_count": request.tokens}
        counted = {symbol: host[register] for symbol, register in registers.items() if register in host}
        left = {name: np.broadcast_to(np.float32(0), shape) for name, shape in self._resident().items()}
        sizes = bind_symbols(input_ports(self._part), {**left, **request.arrays}, counted)
        return bind_masks(self._part, request.arrays, sizes)

    def _next_entry(self, entry: str | None, left: int, tokens: int) -> tuple[str, int]:
        """Entry for the next tokens, and how many it takes."""
        entries = self._part.entries
        chunk = self._chunk
        single = "decode" if "decode" in entries and (tokens == 1 or "prefill" not in entries) else "prefill"
        name = entry or ("encode" if "encode" in entries else single)
        if name == "encode" and tokens > chunk:
            raise ResourceLimitError(
                "the input is too long for the program",
                notes=[f"demand: {tokens} tokens", f"bound: {chunk} tokens in one run"],
                help="compile with a larger --max-context",
            )
        return name, 1 if name == "decode" else min(left, chunk)

    def _run_entry(self, entry: str, count: int, first: int, is_masked: bool, symbols: Mapping[str, int]) -> Statistics:
        names: Mapping[str, str] = self._part.metadata.get("symbols", {})
        available = {
            **{register: symbols[symbol] for symbol, register in names.items() if symbol in symbols},
            "kv_length": self.kv_length,
            "token_count": count,
            "first_output": first,
            "masked": int(is_masked),
        }
        asked = self._part.entries[entry].registers if entry in self._part.entries else ()
        registers = {name: available[name] for name in asked if name in available}
        self._stored = self.kv_length + count
        statistics = self.simulator.run(entry, registers, self.timing_only)
        if entry != "encode":
            self.kv_length += count
        return statistics

    def _write_whole_inputs(self, request: Request, symbols: Mapping[str, int]) -> bool:
        """Write inputs that are not split by tokens; returns whether a mask excludes any position."""
        is_masked = False
        for port in input_ports(self._part).values():
            if port.kind not in ("whole", "keys"):
                continue
            symbol = self._part.symbol(port.symbol)
            array = request.arrays.get(port.name)
            if array is None and port.filled_by:
                continue
            if array is None:
                array = np.full(shape_of(port, symbols), symbol.layout["default"])
            elif port.kind == "keys":
                array = (array != 0).astype(np.int32)
            is_masked = is_masked or (port.kind == "keys" and not array.all())
            if not self.timing_only:
                write_whole(self.simulator.state, symbol, array)
        return is_masked

    def _write_rows(self, request: Request, start: int, count: int) -> None:
        for port in input_ports(self._part).values():
            if port.kind != "tokens":
                continue
            symbol = self._part.symbol(port.symbol)
            array = request.arrays.get(port.name)
            if array is None:
                rows = default_rows(symbol, self.kv_length, count)
            else:
                rows = token_rows(port, symbol, array)[:, start : start + count]
            write_token_rows(self.simulator.state, symbol, rows, self._chunk)

    def _read_rows(self, rows: dict[str, list[Array]], first: int, count: int) -> None:
        ports = output_ports(self._part)
        for name, parts in rows.items():
            port = ports[name]
            if port.kind in _ROW_KINDS and first < count:
                symbol = self._part.symbol(port.symbol)
                parts.append(read_token_rows(self.simulator.state, port, symbol, first, count, self._chunk))

    @property
    def _chunk(self) -> int:
        return int(self._part.metadata.get("chunk", 1))

    def _output(self, name: str, parts: list[Array], symbols: Mapping[str, int]) -> Array:
        port = output_ports(self._part)[name]
        symbol = self._part.symbol(port.symbol)
        if port.kind == "present":
            tokens = self._present_tokens(port, symbols)
            return present_array(self.simulator.state, self.program, port, symbol, tokens)
        if port.kind == "whole":
            return read_whole(self.simulator.state, port, symbol, shape_of(port, symbols))
        rows = np.concatenate(parts, axis=1)
        shape = [dim if isinstance(dim, int) else rows.shape[1] for dim in port.shape]
        return from_rows(port, symbol, rows, shape)

    def _present_tokens(self, port: Port, symbols: Mapping[str, int]) -> int:
        """Tokens that a cache holds after the run."""
        shape = shape_of(port, symbols)
        dynamic = [size for dim, size in zip(port.shape, shape, strict=True) if isinstance(dim, str)]
        return dynamic[0] if dynamic else math.prod(shape) // cache_words(self._part.symbol(port.symbol))
