"""HBM-PIM kernels: cycles and log lines of the published simulator, line by line for one channel; wrong sizes."""

import csv
from pathlib import Path

import pytest

from isa import InputError, MachineError, load_machine
from pimc.simulator.traces.hbm_pim.kernel_runs import Event, HbmPimRun, run_hbm_pim_host, run_hbm_pim_kernel
from pimc.simulator.traces.hbm_pim.unit_programs import ProgramCounter, gemv_program, relu_program

FOLDER = Path(__file__).parents[3] / "golden" / "hbmpim"
MACHINE = load_machine("hbm2-pim")
with (FOLDER / "hbmpim_golden.csv").open(newline="") as table:
    ROWS = {row["kernel"]: row for row in csv.DictReader(table)}
KERNEL_LOGS = ["add_262144", "add_1048576", "relu_1048576", "gemv_1024_1024"]


def run(kernel: str, host: bool = False) -> HbmPimRun:
    name, *sizes = kernel.split("_")
    runner = run_hbm_pim_host if host else run_hbm_pim_kernel
    return runner(name, [int(size) for size in sizes], MACHINE)


def reference_log(file: str) -> list[dict[str, str]]:
    with (FOLDER / file).open(newline="") as table:
        return list(csv.DictReader(table))


def printed(event: Event, reference: dict[str, str], all_banks: bool) -> dict[str, str]:
    """The event as the published log prints it: accesses of all banks a cycle late; only what that line tells."""
    column_access = event.name not in ("ACTIVATE", "PRECHARGE", "REF", "HAB")
    line = {
        "cycle": str(event.cycle + (all_banks and column_access)),
        "command": event.name,
        "bank": str(event.bank),
        "row": str(event.row),
        "column": str(event.column),
        "pim_instruction": event.instruction,
    }
    untold = {key for key in ("bank", "row", "column") if reference[key] == ""}
    if event.name == "PRECHARGE":
        untold.add("row")  # the reference prints a row that was open when the simulation began
    return {key: value for key, value in line.items() if key not in untold}


@pytest.mark.parametrize("kernel", KERNEL_LOGS)
def test_every_line_of_the_log_is_met(kernel: str) -> None:
    events = [event for event in run(kernel).log if event.name != "HAB_END"]
    reference = reference_log(f"{kernel}_ch0_pim.csv")
    assert len(events) == len(reference)
    all_banks = False
    for event, line in zip(events, reference, strict=True):
        all_banks |= event.name == "HAB"
        if (event.name, event.row) == ("READ", 4096):
            all_banks = False
        own = printed(event, line, all_banks)
        assert own == {key: line[key] for key in own}


def test_every_line_of_the_host_log_is_met() -> None:
    reference = reference_log("gemv_1024_1024_ch0_host.csv")
    log = run("gemv_1024_1024", host=True).log
    assert len(log) == len(reference)
    for event, line in zip(log, reference, strict=True):
        own = printed(event, line, all_banks=False)
        assert own == {key: line[key] for key in own}


@pytest.mark.parametrize("kernel", ROWS)
def test_cycles_and_log_lines_of_the_kernel_are_met(kernel: str) -> None:
    golden = ROWS[kernel]
    result = run(kernel)
    assert result.cycles == int(golden["pim_cycles"])
    counts = {name[4:]: int(count) for name, count in golden.items() if name[:4] == "pim_" and count}
    del counts["cycles"]
    assert {name: result.event_counts.get(name, 0) for name in counts} == counts


@pytest.mark.parametrize("kernel", [name for name in ROWS if name not in ("gemv_12288_4096", "gemv_8192_4096")])
def test_cycles_and_commands_of_the_host_are_met(kernel: str) -> None:
    golden = ROWS[kernel]
    result = run(kernel, host=True)
    assert result.cycles == int(golden["host_cycles"])
    counts = {name[5:]: int(count) for name, count in golden.items() if name[:5] == "host_" and count}
    del counts["cycles"]
    assert {name: result.command_counts.get(name, 0) for name in counts} == counts


def test_commands_are_counted_without_the_lines_of_jumps() -> None:
    result = run("gemv_1024_1024")
    columns = 16 * 2 + 512
    assert result.command_counts["READ"] == 64 * columns
    assert result.event_counts["READ"] == 64 * (columns + 63)
    writes = 4 + 1 + 2 + 8 * 8 + 8 + 2  # mode, program, start and stop, inputs, results, mode
    assert result.command_counts["WRITE"] == 64 * writes


def test_rules_that_the_reference_lacks_can_be_added() -> None:
    published = run("gemv_4096_4096")
    ours = run_hbm_pim_kernel("gemv", (4096, 4096), MACHINE, compat=False)
    for command in ("READ", "WRITE", "REF"):
        assert ours.command_counts[command] == published.command_counts[command]
    assert published.cycles < ours.cycles < published.cycles + 3 * 14


def test_host_shares_odd_columns_among_the_first_channels() -> None:
    result = run_hbm_pim_host("relu", (16 * 65,), MACHINE)
    assert result.command_counts["READ"] == 65
    assert result.command_counts["WRITE"] == 65


def test_jump_is_taken_as_often_as_it_says() -> None:
    counter = ProgramCounter(relu_program(tiles=2))
    texts = [counter.access() for _ in range(2 * 4 * 8)]
    assert texts[0] == ["[0] FILL GRF_A[0], EVEN_BANK, relu"]
    assert texts[32] == ["[4] JUMP 1x [PC - 5]", "[0] FILL GRF_A[0], EVEN_BANK, relu"]
    assert counter.access() == ["[4] JUMP 1x [PC - 5]"]


def test_odd_banks_have_one_tile_fewer() -> None:
    assert [each.text for each in gemv_program(5)] == [
        "MAC GRF_B[0], GRF_A[0], EVEN_BANK, auto",
        "JUMP 23x [PC - 2]",
        "MAC GRF_B[0], GRF_A[0], ODD_BANK, auto",
        "JUMP 15x [PC - 2]",
        "NOP 8x",
    ]


@pytest.mark.parametrize(("kernel", "sizes"), [("gemv", (4096,)), ("gemv", (0, 16)), ("add", (1, 2)), ("relu", (0,))])
def test_wrong_sizes_are_refused(kernel: str, sizes: tuple[int, ...]) -> None:
    for runner in (run_hbm_pim_kernel, run_hbm_pim_host):
        with pytest.raises(InputError, match=f"the kernel '{kernel}' takes "):
            runner(kernel, sizes, MACHINE)


def test_unknown_kernel_is_refused() -> None:
    for runner in (run_hbm_pim_kernel, run_hbm_pim_host):
        with pytest.raises(InputError, match="unknown kernel 'sub'"):
            runner("sub", (1024,), MACHINE)


def test_other_machines_are_refused() -> None:
    with pytest.raises(MachineError, match="'hbm3-attacc' has no DRAM with the controller 'hbm_pim_reference'"):
        run_hbm_pim_kernel("add", (1,), load_machine("hbm3-attacc"))
