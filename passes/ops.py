"""Every graph operation: operands, attributes and meaning, as one table for verifier, text form and interpreter.

Shapes are written with B batch, S tokens of the run, P tokens in the cache, L new keys (S, but for cross-attention),
T = P + L, H query heads, G key/value heads, D elements of a head, K inputs and N outputs of a linear map. `linear` and
everything below it exist only after fusion; importers may write `attention` themselves.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OpSpec:
    """One graph operation.

    Attributes:
        name: Name in the graph and in its text form.
        operands: Names; a trailing `?` marks an optional one, a trailing `*` a list at the end.
        results: Number of results; 0 means as many as the attribute `sizes` has.
        attributes: Names of the attributes, all of them required.
        meaning: One line.
    """

    name: str
    operands: tuple[str, ...]
    attributes: tuple[str, ...]
    meaning: str
    results: int = 1


_BINARY = {
    "add": "a + b",
    "sub": "a - b",
    "mul": "a * b",
    "div": "a / b (integers: rounded towards zero)",
    "mod": "a mod b with the sign of b",
    "pow": "a to the power b",
    "max": "larger of a and b",
    "min": "smaller of a and b",
    "equal": "a == b",
    "less": "a < b",
    "less_equal": "a <= b",
    "greater": "a > b",
    "greater_equal": "a >= b",
    "and": "a and b (bool)",
    "or": "a or b (bool)",
    "xor": "a xor b (bool)",
}
_UNARY = {
    "neg": "-x",
    "abs": "|x|",
    "sqrt": "square root",
    "reciprocal": "1 / x",
    "exp": "e to the x",
    "log": "natural logarithm",
    "sin": "sine",
    "cos": "cosine",
    "tanh": "hyperbolic tangent",
    "erf": "error function",
    "sigmoid": "1 / (1 + exp(-x))",
    "relu": "larger of x and 0",
    "silu": "x * sigmoid(x)",
    "floor": "largest integer <= x",
    "ceil": "smallest integer >= x",
    "round": "nearest integer, of two equally near ones the even one",
    "sign": "-1, 0 or 1",
    "not": "not x (bool)",
    "is_nan": "whether x is not a number",
    "identity": "x",
}

_ROWS = (
    *(OpSpec(name, ("a", "b"), (), f"{meaning}, broadcast as in numpy") for name, meaning in _BINARY.items()),
    *(OpSpec(name, ("x",), (), f"{meaning}, element by element") for name, meaning in _UNARY.items()),
    OpSpec("gelu", ("x",), ("approximate",), "x * Phi(x); `approximate` is `none` (erf) or `tanh`"),
    OpSpec("cast", ("x",), ("to",), "convert to the dtype `to`"),
    OpSpec("where", ("condition", "a", "b"), (), "a where condition, else b, broadcast"),
    OpSpec("matmul", ("a", "b"), (), "matrix product as numpy.matmul"),
    OpSpec("reduce_sum", ("x",), ("axes", "keepdims"), "sum over `axes`"),
    OpSpec("reduce_mean", ("x",), ("axes", "keepdims"), "mean over `axes`"),
    OpSpec("reduce_max", ("x",), ("axes", "keepdims"), "largest over `axes`"),
    OpSpec("reduce_min", ("x",), ("axes", "keepdims"), "smallest over `axes`"),
    OpSpec("argmax", ("x",), ("axis", "keepdims"), "index of the first largest element along `axis`"),
    OpSpec(
        "topk",
        ("x",),
        ("k", "axis", "largest"),
        "the `k` largest (or smallest) elements along `axis`, best first, of equal ones the first one; results: values,"
        " int64 positions",
        results=2,
    ),
    OpSpec("softmax", ("x",), ("axis",), "exp(x - max) / sum along `axis`"),
    OpSpec("cumsum", ("x",), ("axis",), "running sum along `axis`"),
    OpSpec("layer_norm", ("x", "weight", "bias?"), ("epsilon",), "normalise the last axis to mean 0 and variance 1"),
    OpSpec("rms_norm", ("x", "weight"), ("epsilon",), "x / sqrt(mean(x^2) + epsilon) * weight over the last axis"),
    OpSpec("reshape", ("x",), ("shape",), "the same elements in order under another shape"),
    OpSpec("expand", ("x",), ("shape",), "broadcast to `shape`"),
    OpSpec("transpose", ("x",), ("perm",), "permute the axes"),
    OpSpec("slice", ("x",), ("axis", "start", "stop", "step"), "part of one axis; start and stop count from its front"),
    OpSpec("concat", ("x*",), ("axis",), "join along `axis`"),
    OpSpec("split", ("x",), ("axis", "sizes"), "cut `axis` into pieces of the given sizes", results=0),
    OpSpec("gather", ("x", "indices"), ("axis",), "take positions of one axis; negative ones count from its end"),
    OpSpec("gather_nd", ("x", "indices"), ("batch_dims",), "take x[indices[..., :]] as ONNX GatherND"),
    OpSpec("gather_elements", ("x", "indices"), ("axis",), "take along `axis` element by element"),
    OpSpec(
        "scatter_nd",
        ("x", "indices", "updates"),
        ("reduction",),
        "x, but x[indices[..., :]] = updates, as ONNX ScatterND; or with `reduction` (add, mul, max, min: not none)"
        " combined with what stands there",
    ),
    OpSpec("range", (), ("start", "stop", "step", "to"), "start, start + step, ... below stop, as dtype `to`"),
    OpSpec("trilu", ("x",), ("upper", "diagonal"), "upper or lower triangle, zeros elsewhere"),
    OpSpec("linear", ("x", "weight", "bias?"), (), "x[..., K] times weight[K, N] plus bias[N]"),
    OpSpec("expert_linear", ("x", "index", "weights"), (), "x[..., K] times the matrix weights[index[...]] [K, N]"),
    OpSpec(
        "rotary",
        ("x", "cos", "sin"),
        ("heads", "interleaved"),
        "rotary embedding of x[B, S, heads*D] by cos and sin [B|1, S, R/2], R <= D rotated elements; pairs are"
        " (i, i + R/2), or neighbours when interleaved",
    ),
    OpSpec(
        "attention",
        ("query", "key?", "value?", "past_key?", "past_value?", "key_mask?", "bias?"),
        ("heads", "kv_heads", "scale", "causal", "window", "softcap"),
        "softmax(cap(query key^T * scale) + bias + mask) value; query [B, S, H*D], key and value [B, L, G*D], past"
        " [B, G, P, D], key_mask bool [B|1, T] (true: attend), bias broadcasts to [B, H, S, T]. key and value are"
        " absent together when all keys are past. cap(s) = softcap * tanh(s / softcap), or s when softcap is 0."
        " causal: key j serves query i when j <= P + i; window w > 0: and j > P + i - w; a bias below -1e29"
        " excludes a key; a query without any key gives 0. Results: [B, S, H*D], present_key and present_value"
        " [B, G, T, D] (1 and 2 may be left out)",
        results=3,
    ),
    OpSpec(
        "cached_attention",
        ("query", "key?", "value?", "key_mask?", "bias?"),
        ("heads", "kv_heads", "scale", "causal", "window", "softcap", "cache"),
        "append key and value, if any, to the resident cache `cache`, then attend to all of it as `attention` does",
    ),
    OpSpec(
        "feed_forward",
        ("x", "up", "up_bias?", "gate?", "gate_bias?", "down", "down_bias?"),
        ("activation",),
        "act(x up + up_bias) down + down_bias; with a gate:"
        " (act(x gate + gate_bias) * (x up + up_bias)) down + down_bias",
    ),
)

OPS = {row.name: row for row in _ROWS}
ACTIVATIONS = ("relu", "silu", "gelu", "gelu_tanh", "tanh", "sigmoid", "quick_gelu")
"""Values of `feed_forward`'s attribute `activation`; quick_gelu is x * sigmoid(1.702 x)."""
SCATTER_REDUCTIONS = ("none", "add", "mul", "max", "min")
"""Values of `scatter_nd`'s attribute `reduction`."""
EXCLUDED_BELOW = -1e29
"""A bias of attention below this excludes the key."""
FLOAT_DTYPES = ("float32", "float16", "bfloat16", "float64")
INTEGER_DTYPES = ("int64", "int32", "int8", "uint8")
"""numpy names of the element types that values may have, together with `bool`; `float64` only stands in constants."""
