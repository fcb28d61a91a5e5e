"""Encoder-decoder models that come as a folder of files: which file is what, and how they hang together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from isa import InputError, Place
from passes import cache_stem
from pimc.frontend import LoadedModel, load_model

if TYPE_CHECKING:
    import onnx

CONFIGURATION_FILE = "config.json"
_BRANCH = "use_cache_branch"
_HIDDEN_STATES = "encoder_hidden_states"
_WANTED = "an encoder, a decoder without past keys and values, and a decoder with them (or one merged of both)"


@dataclass(frozen=True)
class ModelFile:
    """A file of the folder, as one entry of the program.

    Attributes:
        entry: `encode`, `prefill` or `decode`.
        model: The model.
        bind: Inputs that become constants: the branch of a merged decoder.
        links: For inputs that an output of an earlier entry fills: `ENTRY/OUTPUT`, by input name.
    """

    entry: str
    model: LoadedModel
    bind: Mapping[str, Any] = field(default_factory=dict[str, Any])
    links: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def name(self) -> str:
        """Its file name."""
        return Path(self.model.name).name


@dataclass(frozen=True)
class ModelFolder:
    """An encoder-decoder model.

    Attributes:
        path: The folder.
        files: What becomes the entries `encode`, `prefill` and `decode`, in this order.
        start_token: Token with which every decoded text begins.
        end_tokens: Tokens that end it.
    """

    path: Path
    files: tuple[ModelFile, ...]
    start_token: int
    end_tokens: frozenset[int]

    @property
    def sha256(self) -> str:
        """Hash of the models, in order."""
        return hashlib.sha256("\0".join(file.model.sha256 for file in self.files).encode()).hexdigest()


def load_folder(path: str | Path) -> ModelFolder:
    """Find encoder and decoders among the ONNX files of a folder, by their inputs and outputs.

    The encoder has neither past keys and values nor an encoder's output among its inputs; a decoder has either. A
    merged decoder, whose input `use_cache_branch` chooses, stands for both decoders where these are not there.

    Raises:
        InputError: a file is missing, or two could be the same one; the message names all files of the folder.
    """
    folder = Path(path)
    found = _classified(folder)
    encoder = _only(folder, found, "encoder")
    if found["decoder"] or found["decoder with past"]:
        first, second = _only(folder, found, "decoder"), _only(folder, found, "decoder with past")
        branches: tuple[dict[str, bool], ...] = ({}, {})
    else:
        first = second = _only(folder, found, "merged decoder")
        branches = ({_BRANCH: False}, {_BRANCH: True})
    links = {_HIDDEN_STATES: f"encode/{_hidden_output(encoder, first)}"}
    _check_caches(first, second)
    files = (
        ModelFile("encode", encoder),
        ModelFile("prefill", first, branches[0], links),
        ModelFile("decode", second, branches[1], links if _HIDDEN_STATES in input_shapes(second.proto) else {}),
    )
    start, ends = _tokens(folder)
    return ModelFolder(folder, files, start, ends)


def is_folder(source: object) -> bool:
    """Whether a model is given as a folder."""
    return isinstance(source, str | Path) and Path(source).is_dir()


def input_shapes(proto: onnx.ModelProto) -> dict[str, tuple[int | str, ...]]:
    """Shapes of a model's inputs by name: numbers, names, `?` for what has neither."""
    constant = {tensor.name for tensor in proto.graph.initializer}
    return {value.name: _shape(value) for value in proto.graph.input if value.name not in constant}


def file_dimensions(
    folder: ModelFolder, file: ModelFile, dims: Mapping[str, int], bind: Mapping[str, Any]
) -> tuple[dict[str, int], dict[str, Any]]:
    """Dimensions and inputs to bind of one file: those given that it has, and what the encoder's output fixes.

    Args:
        folder: The model.
        file: One of its files.
        dims: Numbers by name of the dimension, each in at least one file.
        bind: Values by input name, each of at least one file.

    Raises:
        InputError: no file has a dimension or an input of that name.
    """
    shapes = {each.entry: input_shapes(each.model.proto) for each in folder.files}
    names = {
        entry: {dim for shape in own.values() for dim in shape if isinstance(dim, str)} for entry, own in shapes.items()
    }
    for what, given, known in (("dimension", dims, names), ("input", bind, shapes)):
        unknown = [name for name in given if not any(name in own for own in known.values())]
        if unknown:
            listed = [f"{each.name}: {', '.join(sorted(known[each.entry]))}" for each in folder.files]
            raise InputError(f"no file has the {what} '{unknown[0]}'", Place(str(folder.path)), notes=listed)
    fixed = {} if file.entry == "encode" else _fixed_dimensions(folder)
    own_dims = {name: size for name, size in {**fixed, **dims}.items() if name in names[file.entry]}
    own_bind = {name: value for name, value in bind.items() if name in shapes[file.entry]}
    return own_dims, {**own_bind, **file.bind}


def folder_dimensions(folder: ModelFolder, arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """Sizes of the named first axes of the files' inputs, as arrays called `ENTRY/NAME` have them."""
    found: dict[str, int] = {}
    for file in folder.files:
        for name, shape in input_shapes(file.model.proto).items():
            array = arrays.get(f"{file.entry}/{name}")
            if array is not None and array.ndim > 1 and isinstance(shape[0], str) and shape[0] != "?":
                found[shape[0]] = array.shape[0]
    return found


def _fixed_dimensions(folder: ModelFolder) -> dict[str, int]:
    """Dimensions of the decoders that the encoder's output has as numbers, without the batch."""
    encoder, decoder = (file for file in folder.files if file.entry != "decode")
    output = decoder.links[_HIDDEN_STATES].partition("/")[2]
    value = next(value for value in encoder.model.proto.graph.output if value.name == output)
    pairs = zip(_shape(value)[1:], input_shapes(decoder.model.proto)[_HIDDEN_STATES][1:], strict=True)
    return {name: size for size, name in pairs if isinstance(size, int) and isinstance(name, str) and name != "?"}


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims)


def _classified(folder: Path) -> dict[str, list[LoadedModel]]:
    paths = sorted(folder.glob("*.onnx"))
    if not paths:
        raise InputError("the folder has no ONNX files", Place(str(folder)), help=f"allowed: {_WANTED}")
    found: dict[str, list[LoadedModel]] = {
        role: [] for role in ("encoder", "decoder", "decoder with past", "merged decoder")
    }
    for path in paths:
        model = load_model(path)
        found[_role(model)].append(model)
    return found


def _role(model: LoadedModel) -> str:
    inputs = input_shapes(model.proto)
    if _BRANCH in inputs:
        return "merged decoder"
    if any(_is_past(name) for name in inputs):
        return "decoder with past"
    return "decoder" if _HIDDEN_STATES in inputs else "encoder"


def _is_past(name: str) -> bool:
    return name.startswith("past")


def _only(folder: Path, found: Mapping[str, Sequence[LoadedModel]], role: str) -> LoadedModel:
    """The only file in a role."""
    models = found[role]
    if len(models) == 1:
        return models[0]
    notes = [f"{Path(model.name).name}: {each}" for each, models in found.items() for model in models]
    names = ", ".join(Path(model.name).name for model in models)
    problem = f"two files could be the {role}: {names}" if models else f"the folder has no {role}"
    remedy = "take all but one out of the folder" if models else f"an encoder-decoder model needs {_WANTED}"
    raise InputError(problem, Place(str(folder)), notes=notes, help=remedy)


def _hidden_output(encoder: LoadedModel, decoder: LoadedModel) -> str:
    """The encoder's output that the decoder reads.

    Raises:
        InputError: there is none, or its shape does not fit.
    """
    outputs = {value.name: _shape(value) for value in encoder.proto.graph.output}
    wanted = input_shapes(decoder.proto).get(_HIDDEN_STATES, ())
    fitting = [name for name, shape in outputs.items() if _fits(shape, wanted)]
    if fitting:
        return "last_hidden_state" if "last_hidden_state" in fitting else fitting[0]
    raise InputError(
        f"no output of {Path(encoder.name).name} fits the input '{_HIDDEN_STATES}' of {Path(decoder.name).name}",
        Place(encoder.name),
        notes=[f"'{name}': {list(shape)}" for name, shape in outputs.items()] + [f"wanted: {list(wanted)}"],
    )


def _fits(given: Sequence[int | str], wanted: Sequence[int | str]) -> bool:
    pairs = list(zip(given, wanted, strict=False))
    return len(given) == len(wanted) and all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))


def _check_caches(first: LoadedModel, second: LoadedModel) -> None:
    """Every past input of the decoder with past is a present output of the other.

    Raises:
        InputError: some are not.
    """
    returned = {cache_stem(value.name) for value in first.proto.graph.output if value.name.startswith("present")}
    past = [name for name in input_shapes(second.proto) if _is_past(name)]
    missing = [name for name in past if cache_stem(name) not in returned]
    if missing:
        raise InputError(
            f"{Path(first.name).name} returns no keys and values for {len(missing)} cache inputs of"
            f" {Path(second.name).name}",
            Place(first.name),
            notes=[f"'{name}'" for name in missing[:8]],
            help="export both decoders of one model, with their caches",
        )


def _tokens(folder: Path) -> tuple[int, frozenset[int]]:
    """Start token and end tokens of the folder's configuration; 0 and none where it does not say."""
    path = folder / CONFIGURATION_FILE
    if not path.is_file():
        return 0, frozenset()
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise InputError("not a configuration", Place(str(path)), notes=[str(problem)]) from None
    facts = facts if isinstance(facts, dict) else {}
    start, ends = facts.get("decoder_start_token_id"), facts.get("eos_token_id")
    listed = ends if isinstance(ends, list) else [ends]
    return (start if type(start) is int else 0), frozenset(end for end in listed if type(end) is int)
