"""Near-bank instructions for tests: short builders, and random streams of them."""

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from isa import INSTRUCTIONS, Machine
from pimc.simulator.dram.channel_timing import ChannelTiming

ALL = 0xFFFFFFFF
COLUMNS = 64


class Issue(NamedTuple):
    mnemonic: str
    operands: Sequence[int]
    wait: int = 0


def op(mnemonic: str, wait: int = 0, **values: int) -> Issue:
    """An instruction on all channels with 0 for every operand that is not named; `outs` and `cdiv` default to 1."""
    defaults = {"ch": ALL, "outs": 1, "cdiv": 1}
    names = [operand.name for operand in INSTRUCTIONS[mnemonic].operands]
    assert set(values) <= set(names)
    return Issue(mnemonic, [values.get(name, defaults.get(name, 0)) for name in names], wait)


def run(timing: ChannelTiming, issues: Sequence[Issue]) -> list[tuple[int, int]]:
    """Issue one after the other, each no earlier than the start of the one before plus its wait."""
    spans: list[tuple[int, int]] = []
    ready = 0
    for issue in issues:
        ready += issue.wait
        spans.append(timing.issue(issue.mnemonic, issue.operands, ready))
        ready = max(ready, spans[-1][0])
    return spans


def counts(timing: ChannelTiming) -> dict[str, int]:
    """Commands that occurred."""
    return {name: int(count) for name, count in zip(timing.command_names, timing.command_counts, strict=True) if count}


_MASKS = st.sampled_from([ALL, ALL, ALL, 1, 2, 0x3FF, 0x80000000, 0x0000F00F, 0xFFFF0000])
_ADDRESSES = st.builds(lambda row, column: row * COLUMNS + column, st.integers(0, 3), st.integers(0, COLUMNS - 1))
_WAITS = st.one_of(st.just(0), st.integers(0, 40), st.integers(0, 9000))
_INSTRUCTIONS = st.one_of(
    st.builds(lambda n: ("wrgb", {"cols": n}), st.integers(0, 64)),
    st.builds(lambda n: ("wracc", {"count": n}), st.integers(0, 32)),
    st.builds(lambda n: ("rdacc", {"count": n}), st.integers(0, 32)),
    st.builds(
        lambda a, n, o, s: ("mac", {"addr": a, "cols": n, "outs": o, "bstride": s}),
        _ADDRESSES,
        st.integers(0, 130),
        st.integers(0, 12),
        st.integers(0, 130),
    ),
    st.builds(lambda a: ("open", {"addr": a}), _ADDRESSES),
    st.builds(
        lambda m, a, b, n: (m, {"addr": a, "bank": b, "cols": n}),
        st.sampled_from(["ldb", "stb", "cpbg", "cpgb"]),
        _ADDRESSES,
        st.integers(0, 15),
        st.integers(0, 70),
    ),
    st.builds(
        lambda a, n, s: ("stlane", {"addr": a, "count": n, "cstride": s}),
        _ADDRESSES,
        st.integers(0, 70),
        st.integers(0, 40),
    ),
    st.builds(
        lambda a, b, n, o, s, w: ("kmac", {"addr": a, "beat": b, "beats": n, "outs": o, "bstride": s, "bits": w}),
        _ADDRESSES,
        st.integers(0, 9),
        st.integers(0, 600),
        st.integers(0, 5),
        st.one_of(st.integers(0, 600), st.sampled_from([256, 512])),
        st.sampled_from([8, 4, 2]),
    ),
    st.builds(
        lambda a, b, n, s, w: ("kstore", {"addr": a, "beat": b, "count": n, "bstride": s, "bits": w}),
        _ADDRESSES,
        st.integers(0, 9),
        st.integers(0, 70),
        st.integers(0, 300),
        st.sampled_from([8, 4, 2]),
    ),
    st.builds(lambda a, n: ("wrab", {"addr": a, "cols": n}), _ADDRESSES, st.integers(0, 9)),
    st.builds(lambda a, n: ("ewmul", {"addr": a, "cols": n}), _ADDRESSES, st.integers(0, 70)),
    st.builds(lambda f: ("af", {"fn": f}), st.integers(0, 3)),
    st.just(("rdaf", {})),
)


@st.composite
def streams(draw: st.DrawFn) -> list[Issue]:
    """Random streams that come back to the same few rows, with masks of several channels and idle times."""
    size = draw(st.integers(1, 25))
    return [
        op(mnemonic, draw(_WAITS), ch=draw(_MASKS), **values)
        for mnemonic, values in (draw(_INSTRUCTIONS) for _ in range(size))
    ]


def with_near_bank(machine: Machine, **changes: object) -> Machine:
    """The machine with other near-bank facts; timing under its own names."""
    near_bank = machine.near_bank
    assert near_bank is not None
    timing = {name: changes.pop(name) for name in list(changes) if hasattr(near_bank.timing, name)}
    changes["timing"] = near_bank.timing.model_copy(update=timing)
    return machine.model_copy(update={"near_bank": near_bank.model_copy(update=changes)})
