"""A hand-written program with every kind of port: it adds up the inputs of each token and appends keys to a cache."""

from machine_programs import ALL, code, program

from isa import Entry, Indexed, Port, Program, Region, RegisterSymbol, Symbol
from pimc.kv_layout import KvLayout

CHUNK, CONTEXT, WIDTH = 4, 40, 3
IDS, POSITIONS, STATES, MASK, SUMS, ROW = 0, 16, 32, 128, 256, 512
KEYS, SPILLED = 0, 64
KV, COUNT, FIRST, MASKED, TOKEN, PLACE, BANK, COLUMN, WANTED = range(9)
LAYOUT = KvLayout("key", 1, 16, 1, 1, 16, 64, CONTEXT)


def _body():
    """For each token: SUMS = [id, position, sum of states], spilled = sums + masked, key = states (16 words)."""
    return (
        ("loop", TOKEN, Indexed(0, COUNT)),
        ("add", PLACE, TOKEN, Indexed(0, KV)),
        ("mul", 20, TOKEN, 16),
        ("remu", BANK, PLACE, 16),
        ("divu", COLUMN, PLACE, 16),
        ("stb", 1, Indexed(0, BANK), Indexed(KEYS, COLUMN), 1, Indexed(STATES, 20)),
        ("add", WANTED, TOKEN, 1),
        ("sub", WANTED, WANTED, Indexed(0, FIRST)),
        ("max", WANTED, WANTED, 0),
        ("skipz", WANTED, 0),  # target set below
        ("vmap", Indexed(SUMS, 20), Indexed(IDS, TOKEN), "from_int", 1),
        ("vmap", Indexed(SUMS + 1, 20), Indexed(POSITIONS, TOKEN), "from_int", 1),
        ("rsum", Indexed(SUMS + 2, 20), Indexed(STATES, 20), WIDTH),
        ("vmap", ROW, Indexed(SUMS, 20), "copy", 3),
        ("sts", ROW + 8, MASKED),
        ("vmap", ROW + 3, ROW + 8, "from_int", 1),
        ("vmap", ROW + 4, MASK, "from_int", 1),
        ("remu", BANK, TOKEN, 16),
        ("divu", COLUMN, TOKEN, 16),
        ("stb", ALL, Indexed(0, BANK), Indexed(SPILLED, COLUMN), 1, ROW, 1, 8, 0, 8, "word"),
        ("end",),
        ("halt",),
    )


def token_program(numerics: str = "machine", encoder: bool = False, cached: bool = True) -> Program:
    """The program; as an encoder it has one entry and no cache ports, which `cached` leaves out elsewhere."""
    prologue = (("li", COUNT, 1), ("li", FIRST, 0))
    body = _body()
    skip = next(n for n, row in enumerate(body) if row[0] == "skipz")
    rows = [*prologue, *body]
    rows[len(prologue) + skip] = ("skipz", WANTED, len(rows) - 2)
    decode = Entry("decode", 0, ("kv_length", "masked"))
    prefill = Entry("prefill", 2, ("kv_length", "token_count", "first_output", "masked"))
    encode = Entry("encode", 2, ("kv_length", "token_count", "first_output", "masked"))
    rounded = {"kind": "tokens", "words": 1, "words_per_token": 1}
    ports = [
        Port("ids", "input", "int64", (1, "seq"), "tokens", "ids"),
        Port("position_ids", "input", "int64", (1, "seq"), "tokens", "position_ids"),
        Port("states", "input", "float32", (1, "seq", WIDTH), "tokens", "states"),
        Port("mask", "input", "int64", (1, "total"), "keys", "mask"),
        Port("unused", "input", "float32", (1, "seq"), "ignored", ""),
        Port("past", "input", "float32", (1, 1, "past", 16), "past", "keys"),
        Port("sums", "output", "float32", (1, "seq", 3), "tokens", "sums"),
        Port("rows", "output", "float32", (1, "seq", 5), "token_rows", "rows"),
        Port("present", "output", "float32", (1, 1, "past + seq", 16), "present", "keys"),
    ]
    return program(
        code(*rows),
        (
            Region("cache", "bank", KEYS, LAYOUT.columns, "cache"),
            Region("spilled", "bank", SPILLED, 1, "output"),
            Region("inputs", "sb", 0, 256, "inputs"),
        ),
        registers=(
            RegisterSymbol("kv_length", KV, 0, CONTEXT),
            RegisterSymbol("token_count", COUNT, 1, CHUNK),
            RegisterSymbol("first_output", FIRST, 0, CHUNK),
            RegisterSymbol("masked", MASKED, 0, 1),
        ),
        numerics=numerics,
        entries={"encode": encode} if encoder else {"decode": decode, "prefill": prefill},
        symbols=(
            Symbol("ids", "sb", IDS, CHUNK, rounded),
            Symbol("position_ids", "sb", POSITIONS, CHUNK, {**rounded, "default": "position"}),
            Symbol("states", "sb", STATES, 16 * CHUNK, {**rounded, "words": 3, "words_per_token": 16, "default": 0}),
            Symbol(
                "mask",
                "sb",
                MASK,
                CONTEXT,
                {"kind": "keys", "strides": [CONTEXT, 1], "keys": "past + seq", "default": 1},
            ),
            Symbol("sums", "sb", SUMS, 16 * CHUNK, {**rounded, "words": 3, "words_per_token": 16}),
            Symbol("rows", "bank", SPILLED, 1, {"kind": "token_rows", "words": 5, "columns": 1}),
            Symbol("keys", "bank", KEYS, LAYOUT.columns, LAYOUT.to_json()),
        ),
        ports=tuple(port for port in ports if (cached and not encoder) or port.kind not in ("past", "present")),
        metadata={"max_context": CONTEXT, "chunk": CHUNK, "symbols": {"seq": "token_count", "past": "kv_length"}},
    )
