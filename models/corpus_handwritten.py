"""Writes the corpus graphs that no exporter of torch makes yet: a Llama in the newest operators.

Three forms of the same model: the standard's Attention with the past inside it (opset 23), a cache of fixed length
that TensorScatter writes to (opset 24), and GroupQueryAttention with rotary embedding inside, as runtimes for
generation want it. Needs the extra `zoo`.

    python models/corpus_handwritten.py
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime
import torch
from corpus_decoders import HEADS, HIDDEN, INNER, KV_HEADS, LAYERS, LLAMA_LIKE, POSITIONS, VOCABULARY
from corpus_inputs import random_case
from corpus_manifest import CORPUS, CorpusGraph, Tensor, add_to_manifest
from corpus_modes import Shape, cached_decoder
from corpus_weights import randomise
from exporters import CHECKED_LENGTHS, Export, largest_difference, relative_difference, small_enough
from model_weights import GivenWeights
from onnx import TensorProto, helper
from onnx_builder import GraphBuilder, Value
from transformers import LlamaConfig, LlamaForCausalLM

HEAD_DIM = 16
MICROSOFT = "com.microsoft"
TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


@dataclass(frozen=True)
class Form:
    """One way to write the model.

    Attributes:
        name: the file's name.
        opset: of the standard operators.
        attend: emits the attention of one layer: builder, layer, projected query, key and value, and what
            `prepare` returned; returns the context `[batch, seq, heads * head_dim]`.
        prepare: emits what all layers share.
        contributed: whether norms and attention are operators of com.microsoft.
        fixed_cache: whether the cache has a fixed length and a place to write to.
    """

    name: str
    opset: int
    attend: Callable[[GraphBuilder, int, tuple[Value, Value, Value], tuple[Value, ...]], Value]
    prepare: Callable[[GraphBuilder], tuple[Value, ...]]
    contributed: bool = False
    fixed_cache: bool = False


def main() -> int:
    """Writes all forms."""
    ours = _wide_llama()
    add_to_manifest(_write(form, ours) for form in FORMS)
    return 0


def _wide_llama() -> Export:
    """The model that all forms are of: a Llama with heads of 16, as GroupQueryAttention asks."""
    config = LlamaConfig(**LLAMA_LIKE, head_dim=HEAD_DIM)
    shape = Shape("llama", LAYERS, HIDDEN, HEADS, HEAD_DIM, KV_HEADS, VOCABULARY, POSITIONS)
    return cached_decoder(randomise(LlamaForCausalLM(config)), shape, positions=True)


def _write(form: Form, ours: Export) -> CorpusGraph:
    facts = replace(
        _interface(form, ours.graph),
        file=f"variants/llama-{form.name}.onnx",
        exporter="handwritten",
        opset=form.opset,
    )
    tensors = {name: parameter.detach().numpy() for name, parameter in ours.model.state_dict().items()}
    model = small_enough(build(form, facts, GivenWeights(tensors)))
    if not form.contributed:  # the checker does not know runtimes' own norms in the standard's domain
        onnx.checker.check_model(model, full_check=True)
    check = _difference_with_fixed_cache if form.fixed_cache else largest_difference
    worst = max(check(ours, facts, model, *lengths) for lengths in CHECKED_LENGTHS if facts.allows(*lengths))
    if not worst <= facts.relative_tolerance / 4:
        raise RuntimeError(f"{facts.file} differs from torch by {worst:.1e}")
    (CORPUS / facts.file).parent.mkdir(exist_ok=True)
    onnx.save(model, CORPUS / facts.file)
    print(f"{facts.file:48} {model.ByteSize() / 1000:6.1f} kB")
    return facts


def _interface(form: Form, graph: CorpusGraph) -> CorpusGraph:
    """The inputs and outputs of a form: those of the exported graph, or with a cache of fixed length."""
    if form.contributed:
        inputs = tuple(_of_one_sequence(tensor) for tensor in graph.inputs if tensor.name != "position_ids")
        return replace(graph, inputs=inputs, outputs=tuple(map(_of_one_sequence, graph.outputs)), padding="none")
    if not form.fixed_cache:
        return graph
    inputs = [_with_fixed_cache(tensor) for tensor in graph.inputs if tensor.name != "attention_mask"]
    inputs += [Tensor(name, "int64", ("batch",)) for name in ("write_indices", "nonpad_kv_seqlen")]
    return replace(graph, inputs=tuple(inputs), outputs=tuple(map(_with_fixed_cache, graph.outputs)), padding="none")


def _of_one_sequence(tensor: Tensor) -> Tensor:
    """GroupQueryAttention takes several new tokens after a past for one sequence alone."""
    return replace(tensor, dims=(1, *tensor.dims[1:]))


def _with_fixed_cache(tensor: Tensor) -> Tensor:
    is_state = tensor.name.endswith((".key", ".value"))
    return replace(tensor, dims=("batch", KV_HEADS, POSITIONS, HEAD_DIM)) if is_state else tensor


def build(form: Form, facts: CorpusGraph, weights: GivenWeights) -> onnx.ModelProto:
    """Emits the whole model in one form."""
    builder = GraphBuilder(weights, form.opset, constant_nodes=False)
    for tensor in facts.inputs:
        builder.input(tensor.name, TYPES[tensor.dtype], tensor.dims)
    shared = form.prepare(builder)
    table = builder.weight("model.embed_tokens.weight", (VOCABULARY, HIDDEN))
    hidden = builder.node("Gather", table, "input_ids", axis=0)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        normalised = _norm(builder, form, hidden, f"{prefix}.input_layernorm.weight")
        widths = {"q": HEADS * HEAD_DIM, "k": KV_HEADS * HEAD_DIM, "v": KV_HEADS * HEAD_DIM}
        states = tuple(
            _linear(builder, normalised, f"{prefix}.self_attn.{part}_proj.weight", (width, HIDDEN))
            for part, width in widths.items()
        )
        context = form.attend(builder, layer, states, shared)
        attended = _linear(builder, context, f"{prefix}.self_attn.o_proj.weight", (HIDDEN, HEADS * HEAD_DIM))
        hidden = builder.node("Add", hidden, attended)
        normalised = _norm(builder, form, hidden, f"{prefix}.post_attention_layernorm.weight")
        hidden = builder.node("Add", hidden, _feed_forward(builder, form, normalised, prefix))
    hidden = _norm(builder, form, hidden, "model.norm.weight")
    head = builder.weight("lm_head.weight", (VOCABULARY, HIDDEN), transposed=True)
    builder.node("MatMul", hidden, head, output="logits")
    for tensor in facts.outputs:
        builder.output(tensor.name, TYPES[tensor.dtype], tensor.dims)
    model = builder.build({}).to_proto()
    if form.contributed:
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return model


def _linear(builder: GraphBuilder, hidden: Value, name: str, shape: tuple[int, int]) -> Value:
    return builder.node("MatMul", hidden, builder.weight(name, shape, transposed=True))


def _norm(builder: GraphBuilder, form: Form, hidden: Value, name: str) -> Value:
    operator = "SimplifiedLayerNormalization" if form.contributed else "RMSNormalization"
    return builder.node(operator, hidden, builder.weight(name, (HIDDEN,)), axis=-1, epsilon=1e-6)


def _feed_forward(builder: GraphBuilder, form: Form, hidden: Value, prefix: str) -> Value:
    gate = _linear(builder, hidden, f"{prefix}.mlp.gate_proj.weight", (INNER, HIDDEN))
    up = _linear(builder, hidden, f"{prefix}.mlp.up_proj.weight", (INNER, HIDDEN))
    if form.opset >= 24:
        active = builder.node("Swish", gate, alpha=1.0)
    else:
        active = builder.node("Mul", gate, builder.node("Sigmoid", gate))
    product = builder.node("Mul", active, up)
    return _linear(builder, product, f"{prefix}.mlp.down_proj.weight", (HIDDEN, INNER))


def _rotary_tables(builder: GraphBuilder) -> tuple[Value, Value]:
    """Cosines and sines `[positions, head_dim / 2]`."""
    frequencies = 10000.0 ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    angles = np.outer(np.arange(POSITIONS), frequencies)
    return builder.constant(np.cos(angles).astype(np.float32)), builder.constant(np.sin(angles).astype(np.float32))


def _boolean_mask(builder: GraphBuilder) -> tuple[Value, ...]:
    """The rotary tables and the padding as a mask `[batch, 1, seq, total]`."""
    boolean = builder.node("Cast", "attention_mask", to=TensorProto.BOOL)
    by_key = builder.node("Unsqueeze", boolean, builder.constant([1, 2]))
    seq = builder.node("Shape", "input_ids", start=1, end=2)
    shape = builder.node("Concat", builder.constant([1, 1]), seq, builder.constant([1]), axis=0)
    return *_rotary_tables(builder), builder.node("Expand", by_key, shape)


def _rotated_heads(
    builder: GraphBuilder, states: tuple[Value, Value, Value], tables: tuple[Value, ...]
) -> tuple[Value, Value, Value]:
    """Query, key and value as `[batch, heads, seq, head_dim]`, the first two rotated."""
    heads = []
    for state, count in zip(states, (HEADS, KV_HEADS, KV_HEADS), strict=True):
        split = builder.node("Reshape", state, builder.constant([0, 0, count, HEAD_DIM]))
        heads.append(builder.node("Transpose", split, perm=[0, 2, 1, 3]))
    query, key = (builder.node("RotaryEmbedding", state, *tables[:2], "position_ids") for state in heads[:2])
    return query, key, heads[2]


def _merged(builder: GraphBuilder, context: Value) -> Value:
    by_token = builder.node("Transpose", context, perm=[0, 2, 1, 3])
    return builder.node("Reshape", by_token, builder.constant([0, 0, HEADS * HEAD_DIM]))


def _attend_with_past(
    builder: GraphBuilder, layer: int, states: tuple[Value, Value, Value], shared: tuple[Value, ...]
) -> Value:
    query, key, value = _rotated_heads(builder, states, shared)
    past = (f"past_key_values.{layer}.key", f"past_key_values.{layer}.value")
    names = [f"/layers.{layer}/context", f"present.{layer}.key", f"present.{layer}.value"]
    context, _, _ = builder.nodes("Attention", query, key, value, shared[2], *past, outputs=3, names=names, is_causal=1)
    return _merged(builder, context)


def _attend_to_fixed_cache(
    builder: GraphBuilder, layer: int, states: tuple[Value, Value, Value], shared: tuple[Value, ...]
) -> Value:
    query, *new = _rotated_heads(builder, states, shared)
    key, value = (
        builder.node(
            "TensorScatter",
            f"past_key_values.{layer}.{kind}",
            state,
            "write_indices",
            axis=2,
            output=f"present.{layer}.{kind}",
        )
        for kind, state in zip(("key", "value"), new, strict=True)
    )
    return _merged(builder, builder.node("Attention", query, key, value, "", "", "", "nonpad_kv_seqlen", is_causal=1))


def _lengths(builder: GraphBuilder) -> tuple[Value, ...]:
    """Rotary tables, the index of each sequence's last key, and the number of all keys, as GroupQueryAttention asks."""
    summed = builder.node("ReduceSum", "attention_mask", builder.constant([1]), keepdims=0)
    last = builder.node("Cast", builder.node("Sub", summed, builder.constant([1])), to=TensorProto.INT32)
    total = builder.node("Gather", builder.node("Shape", "attention_mask"), builder.constant(1), axis=0)
    return *_rotary_tables(builder), last, builder.node("Cast", total, to=TensorProto.INT32)


def _attend_with_groups(
    builder: GraphBuilder, layer: int, states: tuple[Value, Value, Value], shared: tuple[Value, ...]
) -> Value:
    cosines, sines, last, total = shared
    past = (f"past_key_values.{layer}.key", f"past_key_values.{layer}.value")
    return builder.nodes(
        "GroupQueryAttention",
        *states,
        *past,
        last,
        total,
        cosines,
        sines,
        outputs=3,
        names=[f"/layers.{layer}/context", f"present.{layer}.key", f"present.{layer}.value"],
        domain=MICROSOFT,
        num_heads=HEADS,
        kv_num_heads=KV_HEADS,
        do_rotary=1,
    )[0]


FORMS = (
    Form("attention-op23", 23, _attend_with_past, _boolean_mask),
    Form("attention-op24", 24, _attend_with_past, _boolean_mask),
    Form("tensorscatter-op24", 24, _attend_to_fixed_cache, _rotary_tables, fixed_cache=True),
    Form("genai", 21, _attend_with_groups, _lengths, contributed=True),
)


def _difference_with_fixed_cache(
    ours: Export, facts: CorpusGraph, model: onnx.ModelProto, batch: int, seq: int, past: int
) -> float:
    """Compares with torch row by row, each with as much past as it has."""
    case = random_case(facts, batch, seq, past, seed=past)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], case.inputs)[0]
    worst = 0.0
    for row, filled in enumerate(case.inputs["write_indices"]):
        inputs = {
            "input_ids": torch.from_numpy(case.inputs["input_ids"][row : row + 1]),
            "attention_mask": torch.ones(1, filled + seq, dtype=torch.int64),
            "position_ids": torch.arange(filled, filled + seq)[None],
        }
        for tensor in ours.graph.inputs[3:]:
            inputs[tensor.name] = torch.from_numpy(case.inputs[tensor.name][row : row + 1, :, :filled].copy())
        with torch.no_grad():
            expected = ours.call(ours.model, inputs)[0].numpy()
        worst = max(worst, relative_difference(np.ones((1, 1, 1), bool), expected, logits[row : row + 1]))
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
