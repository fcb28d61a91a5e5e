"""Reading of ONNX files with checks of our own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from isa import InputError, Place, UnsupportedError
from pimc.frontend.external_data import ExternalFiles
from pimc.frontend.limits import Limits, check_limit

OLDEST_OPSET = 13


@dataclass(frozen=True)
class LoadedModel:
    """An ONNX model in memory, with its weights still where they were.

    Attributes:
        name: File name as the user gave it, or the name of the graph when there is no file.
        proto: The parsed model.
        file_sha256: Hash of the bytes of the `.onnx` file.
        files: External data of the model's folder.
        limits: Bounds that hold for the import.
    """

    name: str
    proto: onnx.ModelProto
    file_sha256: str
    files: ExternalFiles
    limits: Limits = field(default_factory=Limits)

    @property
    def opsets(self) -> dict[str, int]:
        """Operator set version by domain; the standard domain is the empty string."""
        return {standard_domain(entry.domain): entry.version for entry in self.proto.opset_import}

    @cached_property
    def sha256(self) -> str:
        """Hash of the model: of its file, and of location, size and content of every external file.

        All bytes are hashed, at the speed of the processor's SHA-256 (540 MB in about 0.3 s with SHA instructions);
        external files only when this is first asked for. Without external files it is the hash of the file itself.
        """
        locations = external_locations(self.proto)
        if not locations:
            return self.file_sha256
        digest = hashlib.sha256(self.file_sha256.encode())
        for location in locations:
            content = self.files.whole(location, Place(self.name))
            digest.update(f"\0{location}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()


def load_model(path: str | Path, limits: Limits | None = None) -> LoadedModel:
    """Read an ONNX file; external weights are mapped into memory when they are used, not read here.

    Raises:
        InputError: There is no such file, or it is not an ONNX model.
        UnsupportedError: Its operator set is older than 13 or newer than the installed `onnx` package knows.
        ResourceLimitError: It is larger than the limits allow.
    """
    limits = limits or Limits()
    path = Path(path)
    place = Place(str(path))
    content = _read(path, limits, place)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError:
        raise InputError(
            "the file is not an ONNX model, or it is cut short", place, help="export it again, or copy it again"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    return _checked(LoadedModel(str(path), proto, digest, ExternalFiles(path.parent, limits), limits), place)


def wrap_model(proto: onnx.ModelProto, limits: Limits | None = None) -> LoadedModel:
    """A model that was built in memory; its external data, if any, is looked for in the working directory."""
    limits = limits or Limits()
    name = proto.graph.name or "model"
    digest = hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()
    return _checked(LoadedModel(name, proto, digest, ExternalFiles(Path(), limits), limits), Place(name))


def _read(path: Path, limits: Limits, place: Place) -> bytes:
    if path.is_dir():
        raise InputError("this is a folder, not an ONNX file", place)
    try:
        with path.open("rb") as stream:
            check_limit("the size in bytes", path.stat().st_size, limits.graph_bytes, place)
            return stream.read(limits.graph_bytes + 1)
    except OSError as problem:
        raise InputError(f"cannot read the model: {problem.strerror}", place) from None


def _checked(model: LoadedModel, place: Place) -> LoadedModel:
    proto = model.proto
    if not proto.HasField("graph") or not proto.opset_import or proto.ir_version < 1:
        raise InputError("the file is not an ONNX model: it has no graph or no operator sets", place)
    if not all(isinstance(name, str) for name in _names(proto.graph)):
        raise InputError("the model has a name that is not UTF-8", place, help="the file is damaged; copy it again")
    check_limit("the number of nodes", len(proto.graph.node), model.limits.nodes, place)
    newest = onnx.defs.onnx_opset_version()
    version = model.opsets.get("", newest)
    if not OLDEST_OPSET <= version <= newest:
        raise UnsupportedError(
            f"the model uses operator set {version}; versions {OLDEST_OPSET} to {newest} are supported",
            place,
            help="export the model again with an operator set in this range",
        )
    return model


def _names(graph: onnx.GraphProto) -> Iterator[object]:
    """All names in a graph; the protobuf package gives those that are not UTF-8 as bytes."""
    yield graph.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    yield from (item.name for item in (*graph.initializer, *graph.input, *graph.output))
    yield from (dim.dim_param for info in graph.input for dim in info.type.tensor_type.shape.dim)
    yield from (entry.value for tensor in graph.initializer for entry in tensor.external_data)


def standard_domain(name: str) -> str:
    """The domain with both spellings of the standard one as the empty string."""
    return "" if name == "ai.onnx" else name


def external_locations(proto: onnx.ModelProto) -> list[str]:
    """Locations that the model's tensors refer to, each once, sorted."""
    locations = {
        entry.value
        for tensor in proto.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sorted(locations)
