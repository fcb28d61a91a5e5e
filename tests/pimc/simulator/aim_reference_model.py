"""The published AiM simulator cycle by cycle, as its behaviour is described: slow, without any shortcut.

Nothing is shared with the product but the meaning of a trace line: rules come from `golden/aim/command-spacing.yaml`,
parameters stand below. Every cycle the front end hands over a line, refused requests are offered again, the head of the
line queue is decoded when nothing is refused or awaited, and each channel answers, chooses and issues at most once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import yaml

PARAMETERS = {
    "nBL": 2, "nCL": 50, "nRCDRD": 36, "nRCDRDMAC": 56, "nRCDEWMUL": 25, "nRCDRDAF": 86, "nRCDRDCP": 66, "nRCDWR": 28,
    "nRCDWRCP": 48, "nRP": 32, "nRAS": 54, "nRC": 89, "nWR": 33, "nRTP": 12, "nCWL": 6, "nCCDS": 2, "nCCDL": 2,
    "nWTRS": 9, "nWTRL": 11, "nMODCH": 32, "nCLREG": 0, "nCLGB": 1, "nCWLREG": 1, "nCWLGB": 1, "nWPRE": 1,
    "nRRDS": 5, "nRRDL": 6, "nRFC": 210, "nRFCpb": 110, "nRREFD": 14,
}  # fmt: skip
BANKS, BANKS_PER_GROUP, DEPTH = 16, 4, 33
WRITE_HIGH, WRITE_LOW = 0.8 * 32, 0.2 * 32
ALL_BANKS = ("MAC16", "AF16", "EWMUL16", "WRA16")
ONE_BANK = ("MAC", "RDCP", "WRCP", "RD", "WR")
REGISTERS = ("WRGB", "WRMAC16", "RDMAC16", "RDAF16")
BANK_SCOPE = ("ACT", "PRE", *ONE_BANK)
ANSWERED = ("RD", "RDMAC16", "RDAF16")
MARKERS = ("SYNC", "EOC")
BLOCKING = ("RDMAC16", "RDAF16", *MARKERS)
CONVENTIONAL = ("RD", "WR")


def _latencies() -> dict[str, int]:
    p = PARAMETERS
    read, write = p["nCL"] + p["nBL"], p["nCWL"] + p["nBL"]
    registers = {"WRGB": p["nCWLGB"] + p["nBL"], "WRMAC16": p["nCWLREG"] + p["nBL"]}
    registers |= dict.fromkeys(("RDMAC16", "RDAF16"), p["nCLREG"] + p["nBL"])
    return {"RD": read, "WR": write, "WRA16": write + p["nRP"], **registers}


LATENCY = _latencies()


def _rules() -> dict[str, list[tuple[str, str, int]]]:
    path = Path(__file__).parents[2] / "golden" / "aim" / "command-spacing.yaml"
    rules: dict[str, list[tuple[str, str, int]]] = {}
    for rule in yaml.safe_load(path.read_text())["rules"]:
        cycles = _formula(str(rule["latency"]))
        for preceding in rule["preceding"]:
            rules.setdefault(preceding, []).extend(
                (rule["scope"], following, cycles) for following in rule["following"]
            )
    return rules


def _formula(text: str) -> int:
    """Sum and difference of parameters and numbers."""
    total, sign = 0, 1
    for word in text.split():
        if word in "+-":
            sign = 1 if word == "+" else -1
        else:
            total += sign * (PARAMETERS[word] if word in PARAMETERS else int(word))
    return total


RULES = _rules()


@dataclass(frozen=True)
class Line:
    """A trace line: command (empty: only a cycle), requests for each channel, channels, bank, row."""

    command: str
    count: int
    channels: tuple[int, ...]
    bank: int
    row: int


@dataclass
class Request:
    """A request of a channel, and the number of the line that it comes from."""

    command: str
    bank: int
    row: int
    number: int


@dataclass
class Channel:
    """One channel and its controller."""

    cycle: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    free: dict[tuple[object, ...], int] = field(default_factory=dict)
    rows: list[int | None] = field(default_factory=lambda: [None] * BANKS)
    register_mode: bool = False
    write_mode: bool = False
    aim: list[Request] = field(default_factory=list)
    reads: list[Request] = field(default_factory=list)
    writes: list[Request] = field(default_factory=list)
    active: list[Request] = field(default_factory=list)
    answers: list[tuple[Request, int]] = field(default_factory=list)
    writing: list[int] = field(default_factory=list)
    answered: int = 0
    done: int = 0

    def accept(self, request: Request) -> bool:
        if request.command not in CONVENTIONAL:
            if self.reads or self.writes or len(self.aim) == DEPTH:
                return False
            self.aim.append(request)
            return True
        if self.aim:
            return False
        if request.command == "RD" and self.writes:
            self.answers.append((request, self.cycle))
            return True
        queue = self.reads if request.command == "RD" else self.writes
        if len(queue) == DEPTH:
            return False
        queue.append(request)
        return True

    def earliest(self, command: str, bank: int) -> int:
        nodes = [("channel",)]
        if command in BANK_SCOPE:
            nodes += [("bankgroup", bank // BANKS_PER_GROUP), ("bank", bank)]
        return max(self.free.get((*node, command), 0) for node in nodes)

    def issue(self, command: str, bank: int, row: int) -> None:
        self.counts[command] += 1
        nodes = {"channel": ("channel",)}
        if command in BANK_SCOPE:
            nodes |= {"bankgroup": ("bankgroup", bank // BANKS_PER_GROUP), "bank": ("bank", bank)}
        for scope, following, cycles in RULES.get(command, ()):
            if scope in nodes:
                key = (*nodes[scope], following)
                self.free[key] = max(self.free.get(key, 0), self.cycle + cycles)
        if command == "ACT":
            self.rows[bank] = row
        elif command == "PRE":
            self.rows[bank] = None
        elif command == "ACT16":
            self.rows = [row] * BANKS
        elif command in ("PREA", "WRA16"):
            self.rows = [None] * BANKS
        elif command == "TMOD":
            self.register_mode = not self.register_mode

    def needed(self, request: Request) -> str:
        if request.command in ALL_BANKS:
            if any(row not in (None, request.row) for row in self.rows):
                return "PREA"
            return "ACT16" if None in self.rows else request.command
        if request.command in ONE_BANK and self.rows[request.bank] != request.row:
            return "ACT" if self.rows[request.bank] is None else "PRE"
        return request.command

    def is_ready(self, request: Request) -> bool:
        return self.earliest(self.needed(request), request.bank) <= self.cycle

    def tick(self) -> None:
        if self.answers:
            request, depart = self.answers[0]
            if depart <= self.cycle and not (request.command in MARKERS and self.writing):
                self.answers.pop(0)
                self.answered += request.command != "RD"
        if self.writing:
            self.writing = [depart for depart in self.writing if depart > self.cycle]
        if self.active or self.aim or self.reads or self.writes or not self.write_mode:
            self.serve()

    def serve(self) -> None:
        ready = [request for request in self.active if self.is_ready(request)]
        if ready:
            return self.progress(self.active, min(ready, key=lambda request: request.number))
        if not self.aim:
            queue = self.conventional()
            chosen = next((request for request in queue if self.is_ready(request)), None)
            return self.progress(queue, chosen) if chosen is not None else None
        head = self.aim[0]
        if head.command in MARKERS:
            self.answers.append((self.aim.pop(0), self.cycle))
        elif self.is_ready(head):
            self.progress(self.aim, head)
        return None

    def conventional(self) -> list[Request]:
        if not self.write_mode:
            self.write_mode = len(self.writes) > WRITE_HIGH or not self.reads
        elif self.reads and len(self.writes) < WRITE_LOW:
            self.write_mode = False
        return self.writes if self.write_mode else self.reads

    def progress(self, queue: list[Request], request: Request) -> None:
        command = self.needed(request)
        if command == "PRE" and any(other.bank == request.bank for other in self.active):
            return
        if (request.command in REGISTERS) != self.register_mode:
            command = "TMOD"
        self.issue(command, request.bank, request.row)
        if command == request.command:
            self.done += 1
            queue.remove(request)
            depart = self.cycle + LATENCY.get(command, 1)
            if command in ANSWERED:
                self.answers.append((request, depart))
            else:
                self.writing.append(depart)
        elif command == "ACT" and queue is not self.aim:
            queue.remove(request)
            self.active.append(request)


def run(lines: list[Line], channels: int, patience: int = 20_000) -> tuple[int, Counter[str]]:
    """Cycles until EOC has ended, and the commands of all channels.

    Raises:
        TimeoutError: nothing happens for `patience` cycles.
    """
    devices = [Channel() for _ in range(channels)]
    handed: list[tuple[int, Line]] = []
    refused: list[tuple[int, Request]] = []
    awaited: list[int] | None = None
    cycle = quiet = done = number = 0
    while True:
        cycle += 1
        for device in devices:
            device.cycle = cycle
        if number < len(lines):
            handed.append((number, lines[number]))
            number += 1
        was_refused = bool(refused)
        refused = _offer(devices, refused)
        if not was_refused and awaited is None and handed:
            at, line = handed.pop(0)
            sent = [
                (c, Request(line.command, line.bank, line.row, at)) for _ in range(line.count) for c in line.channels
            ]
            if line.command in BLOCKING:
                awaited = [device.answered for device in devices]
                for channel, _ in sent:
                    awaited[channel] += 1
            refused = _offer(devices, sent) if line.command else []
        for device in devices:
            device.tick()
        if awaited is not None and all(d.answered >= goal for d, goal in zip(devices, awaited, strict=True)):
            awaited = None
            if number == len(lines) and not handed:
                return cycle, sum((device.counts for device in devices), Counter())
        earlier, done = done, sum(device.done for device in devices)
        quiet = quiet + 1 if done == earlier else 0
        if quiet > patience:
            raise TimeoutError


def _offer(devices: list[Channel], requests: list[tuple[int, Request]]) -> list[tuple[int, Request]]:
    """Requests that the channels refuse; behind a refused one its channel is offered no further one."""
    refused: list[tuple[int, Request]] = []
    full: set[int] = set()
    for channel, request in requests:
        if channel in full or not devices[channel].accept(request):
            full.add(channel)
            refused.append((channel, request))
    return refused
