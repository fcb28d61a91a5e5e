"""Random AiM traces for hypothesis: every instruction, few rows and banks, so that they meet."""

from hypothesis import strategies as st

MASKS = st.sampled_from(["0xffffffff", "0x1", "0x3", "0xff", "0x80000000", "0xf0f0f0f0", "6"])
ROWS = st.integers(0, 3)
BANKS = st.integers(0, 15)
COUNTS = st.sampled_from([1, 2, 33, 34, 64, 100])


def _line(*parts: st.SearchStrategy[object]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda fields: " ".join(str(field) for field in fields))


def _word(text: str) -> st.SearchStrategy[object]:
    return st.just(text)


LINES = st.one_of(
    _line(st.sampled_from(["R MEM", "W MEM"]), st.sampled_from([0, 1, 30, 31]), BANKS, ROWS),
    _line(_word("AiM MAC_ABK"), COUNTS, MASKS, ROWS),
    _line(_word("AiM EWMUL"), COUNTS, MASKS, ROWS),
    _line(st.sampled_from(["AiM COPY_BKGB", "AiM COPY_GBBK", "AiM MAC_SBK"]), COUNTS, MASKS, BANKS, ROWS),
    _line(st.sampled_from(["AiM WR_SBK", "AiM RD_SBK"]), _word("0"), MASKS, BANKS, ROWS),
    _line(_word("AiM WR_ABK"), _word("0"), MASKS, ROWS),
    _line(_word("AiM WR_GB"), COUNTS, _word("0"), MASKS),
    _line(st.sampled_from(["AiM WR_BIAS", "AiM RD_MAC", "AiM RD_AF"]), _word("0"), MASKS),
    _line(_word("AiM AF"), MASKS),
    _line(_word("W CFR"), st.integers(0, 3), st.integers(0, 2)),
    st.sampled_from(["AiM SYNC", "AiM EWADD 4 0 1", "R GPR 1", "W GPR 1", "# note", ""]),
)


_ACCESSES = st.lists(
    st.tuples(st.sampled_from(["R", "W"]), st.sampled_from([0, 1]), st.integers(0, 2), st.integers(0, 1)),
    min_size=30,
    max_size=70,
)
BURSTS = _ACCESSES.map(
    lambda accesses: "\n".join(f"{kind} MEM {channel} {bank} {row}" for kind, channel, bank, row in accesses)
)
"""Conventional accesses that fill both queues of a channel, so that writes are drained and requests are refused."""


@st.composite
def traces(draw: st.DrawFn) -> str:
    repeated = draw(st.lists(st.tuples(LINES, st.sampled_from([1, 1, 1, 2, 20])), max_size=40))
    parts = [line for line, times in repeated for _ in range(times)]
    for burst in draw(st.lists(BURSTS, max_size=2)):
        parts.insert(draw(st.integers(0, len(parts))), burst)
    return "\n".join([*parts, "AiM EOC"])
