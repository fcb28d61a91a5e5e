"""The list of the corpus: what each committed graph is, what it takes and gives, and what must be found in it.

Needs nothing but the standard library, so that any test can ask. `manifest.json` holds one graph a line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
MANIFEST = CORPUS / "manifest.json"

Dim = int | str


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph.

    Attributes:
        name: its name in the graph.
        dtype: numpy's name of its element type.
        dims: numbers, and the names `batch`, `seq` (new tokens), `past`, `total` (past + seq), `enc_seq` (tokens that
            an encoder reads while a decoder counts its own by `seq`).
    """

    name: str
    dtype: str
    dims: tuple[Dim, ...]


@dataclass(frozen=True)
class CorpusGraph:
    """One graph of the corpus.

    Attributes:
        file: path below `models/corpus/`, with `/` between folders.
        family: the architecture, as in `llama`.
        exporter: `dynamo`, `torchscript`, `optimum`, `onnxruntime` (rewritten by its tools) or `handwritten`.
        opset: version of the standard operators.
        mode: `plain`, `kv`, `encoder`, `decoder`, `decoder_with_past`, `decoder_merged`, `vision` or `text-vision`.
        layers: transformer layers in this graph.
        attention_blocks: attentions that a compiler should recognise; a decoder layer with cross attention has two.
        feed_forward_blocks: dense feed-forward blocks that it should recognise.
        expert_blocks: feed-forward blocks that choose among experts.
        heads: attention heads.
        kv_heads: heads of keys and values.
        head_dim: elements of a head.
        vocabulary: number of token ids; 0 where no tokens are read.
        positions: longest sequence, 0 without a bound.
        pad_token: the id at padded places.
        window: tokens that a windowed attention sees, counting the query's own; on both sides for encoders. 0: none.
        windowed_layers: the layers whose attention is windowed.
        inputs: inputs in the graph's order.
        outputs: outputs in the graph's order.
        padding: where a shorter sequence of a batch is padded: `left`, `right`, or `none` where it cannot be.
        relative_tolerance: largest difference that two correct implementations may show, of the largest element.
    """

    file: str
    family: str
    exporter: str
    opset: int
    mode: str
    layers: int
    attention_blocks: int
    feed_forward_blocks: int
    expert_blocks: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    positions: int
    pad_token: int
    window: int
    windowed_layers: tuple[int, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    padding: str
    relative_tolerance: float = 1e-4

    @property
    def path(self) -> Path:
        """Where the graph is."""
        return CORPUS / self.file

    @property
    def name(self) -> str:
        """The file's name without folders by kind and without suffix, as in `llama-dynamo` or `t5-dynamo/decoder`."""
        stem = self.file.removesuffix(".onnx")
        return stem.partition("/")[2] or stem

    @property
    def has_cache(self) -> bool:
        """Whether keys and values of earlier tokens are inputs."""
        return any("past" in tensor.dims or tensor.name == "write_indices" for tensor in self.inputs)

    def allows(self, batch: int, seq: int, past: int) -> bool:
        """Whether the graph can be run with so many sequences, new tokens and tokens in the cache."""
        ids = next((tensor for tensor in self.inputs if tensor.name == "input_ids"), None)
        wanted = {"batch": batch, "seq": seq}
        fixed = dict(zip(wanted, ids.dims, strict=False)) if ids else {}
        fits = all(dim == wanted[name] for name, dim in fixed.items() if isinstance(dim, int))
        bounded = not self.positions or past + seq + 2 <= self.positions  # an encoder's text is two tokens longer
        return fits and bounded and (past == 0 or self.has_cache)


def load_manifest(path: Path = MANIFEST) -> tuple[CorpusGraph, ...]:
    """Reads the list, in the order of the files' names."""
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return tuple(_graph_of(row) for row in rows)


def add_to_manifest(graphs: Iterable[CorpusGraph], path: Path = MANIFEST) -> None:
    """Writes the list with the rows of new graphs, in place of those that their files had."""
    rows = {graph.file: graph for graph in (*load_manifest(path), *graphs)}
    save_manifest(tuple(rows.values()), path)


def save_manifest(graphs: tuple[CorpusGraph, ...], path: Path = MANIFEST) -> None:
    """Writes the list, sorted by the files' names."""
    rows = [json.dumps(_row_of(graph)) for graph in sorted(graphs, key=lambda graph: graph.file)]
    path.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


def _row_of(graph: CorpusGraph) -> dict[str, object]:
    row = asdict(graph)
    for side in ("inputs", "outputs"):
        row[side] = [[tensor["name"], tensor["dtype"], *tensor["dims"]] for tensor in row[side]]
    return row


def _graph_of(row: dict[str, object]) -> CorpusGraph:
    sides = {
        side: tuple(Tensor(name, dtype, tuple(dims)) for name, dtype, *dims in row[side])
        for side in ("inputs", "outputs")
    }
    return CorpusGraph(**row | sides | {"windowed_layers": tuple(row["windowed_layers"])})
