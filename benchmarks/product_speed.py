"""Speed of products: the bandwidth of MACs with data, and the time per instruction without.

    python -m benchmarks.product_speed [--repeat 5]

The products have the shapes of SmolLM2-135M on 32 channels: columns x outputs of a bank.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from isa import Entry, Indexed, Program, Region, Segment, instruction, load_machine
from pimc.simulator import Simulator

SHAPES = ((9, 8), (9, 5), (18, 12), (12, 9), (36, 32))
REGION_COLUMNS = 36 * 32 * 9
"""Columns of every bank, 170 MB in all: far more than a processor's cache."""


def product_program(columns: int, outputs: int) -> tuple[Program, int]:
    """A program that sweeps the whole region in products of one shape, and the number of products."""
    machine = load_machine("gddr6-aim")
    near_bank = machine.near_bank
    if near_bank is None:
        raise SystemExit("the machine has no near-bank units")
    channels, count = near_bank.all_channels, REGION_COLUMNS // (columns * outputs)
    code = (
        instruction("loop", 1, count),
        instruction("mul", 2, 1, columns * outputs),
        instruction("mac", channels, Indexed(0, 2), 0, columns, outputs, 0, columns),
        instruction("end"),
        instruction("halt"),
    )
    shape = (near_bank.channels, near_bank.banks, REGION_COLUMNS * near_bank.lanes)
    weights = np.random.default_rng(0).integers(0, 1 << 14, shape, np.uint16)
    program = Program(
        machine=machine.name,
        machine_sha256=machine.sha256,
        numerics="machine",
        code=code,
        entries={"decode": Entry("decode", 0, ())},
        regions=(Region("weights", "bank", 0, REGION_COLUMNS, "weights"),),
        segments=(Segment("weights", weights),),
        debug=(),
    )
    return program, count


def best_seconds(simulator: Simulator, repeat: int, timing_only: bool) -> float:
    """Shortest of `repeat` runs."""
    times: list[float] = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        simulator.run("decode", {}, timing_only)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    """Print one line for each shape."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.product_speed", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the shortest counts (default 5)")
    repeat = parser.parse_args().repeat
    print(f"{'columns x outputs':>18} {'GB/s':>6} {'us/instruction, timing only':>28}")
    for columns, outputs in SHAPES:
        program, count = product_program(columns, outputs)
        simulator = Simulator(load_machine(program.machine))
        simulator.load(program)
        moved = program.segments[0].data.nbytes * count * columns * outputs / REGION_COLUMNS
        full = best_seconds(simulator, repeat, timing_only=False)
        bare = best_seconds(simulator, repeat, timing_only=True)
        print(f"{f'{columns} x {outputs}':>18} {moved / full / 1e9:6.1f} {bare / (3 * count + 2) * 1e6:28.2f}")


if __name__ == "__main__":
    main()
