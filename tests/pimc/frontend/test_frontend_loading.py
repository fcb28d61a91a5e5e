"""Files that are missing, damaged or hostile, and weights that stay where they are."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_graphs import model, node, tensor

from isa import InputError, PimcError, Place, ResourceLimitError, UnsupportedError
from pimc.frontend import Limits, import_model, load_model
from pimc.frontend.external_data import ExternalFiles
from pimc.frontend.tensors import tensor_array

HELP_CUT_SHORT = "help: export it again, or copy it again"
HELP_KEEP_BESIDE = "help: keep the file beside the model, as the exporter wrote it"


def external(name: str, shape: tuple[int, ...], **entries: str) -> onnx.TensorProto:
    weight = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        weight.external_data.add(key=key, value=value)
    return weight


def saved(folder: Path, weight: onnx.TensorProto, shape: tuple[int, ...] = (2, 3)) -> Path:
    """A model that adds the weight to its input."""
    proto = model([node("Add", ["x", "w"], ["y"])], [tensor("x", shape)], ["y"], [weight])
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def message(problem: PimcError, folder: Path) -> str:
    return str(problem).replace(str(folder), "DIR")


def test_external_weights_are_mapped_not_copied(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    content = np.arange(8, dtype=np.float32)
    (tmp_path / "data" / "w.bin").write_bytes(content.tobytes())
    path = saved(tmp_path, external("w", (2, 3), location="data/w.bin", offset="8", length="24"))
    weight = next(value.constant for value in import_model(path).values() if value.name == "w")
    np.testing.assert_array_equal(weight, content[2:].reshape(2, 3))
    assert not weight.flags.writeable
    assert not weight.flags.owndata


def test_the_hash_covers_graph_and_external_data(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(24))
    path = saved(tmp_path, external("w", (2, 3), location="w.bin"))
    before = load_model(path).sha256
    assert load_model(path).sha256 == before
    (tmp_path / "w.bin").write_bytes(bytes(23) + b"\1")
    assert load_model(path).sha256 != before
    inline = saved(tmp_path, onnx.numpy_helper.from_array(np.zeros((2, 3), np.float32), "w"))
    assert load_model(inline).sha256 == hashlib.sha256(inline.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "DIR/m.onnx: error: the file is not an ONNX model: it has no graph or no operator sets"),
        (b"hello", f"DIR/m.onnx: error: the file is not an ONNX model, or it is cut short\n{HELP_CUT_SHORT}"),
        (b"\x08\x07", "DIR/m.onnx: error: the file is not an ONNX model: it has no graph or no operator sets"),
    ],
)
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_model(tmp_path / "m.onnx")
    assert message(caught.value, tmp_path) == expected


def test_a_truncated_model(tmp_path: Path) -> None:
    path = saved(tmp_path, onnx.numpy_helper.from_array(np.zeros((2, 3), np.float32), "w"))
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError):
            import_model(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_model(tmp_path / "none.onnx")
    assert message(caught.value, tmp_path) == "DIR/none.onnx: error: cannot read the model: No such file or directory"
    with pytest.raises(InputError) as caught:
        load_model(tmp_path)
    assert message(caught.value, tmp_path) == "DIR: error: this is a folder, not an ONNX file"


@pytest.mark.parametrize(("version", "newest"), [(12, 28), (99, 28)])
def test_operator_sets_out_of_range(tmp_path: Path, version: int, newest: int) -> None:
    proto = model([node("Neg", ["x"], ["y"])], [tensor("x", (2,))], ["y"], opsets={"": version})
    with pytest.raises(UnsupportedError) as caught:
        import_model(proto)
    newest = onnx.defs.onnx_opset_version()
    assert str(caught.value) == (
        f"net: error: the model uses operator set {version}; versions 13 to {newest} are supported\n"
        "help: export the model again with an operator set in this range"
    )


def _outside(folder: Path) -> None:
    (folder.parent / "secret.bin").write_bytes(bytes(24))


def _symbolic_link(folder: Path) -> None:
    _outside(folder)
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")


def _linked_folder(folder: Path) -> None:
    _outside(folder)
    (folder / "up").symlink_to(folder.parent)


def _hard_link(folder: Path) -> None:
    _outside(folder)
    os.link(folder.parent / "secret.bin", folder / "hard.bin")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def _short(folder: Path) -> None:
    (folder / "w.bin").write_bytes(bytes(20))


REFUSED = [
    (
        None,
        {"location": "w.bin"},
        "the external data file 'w.bin' is missing\nnote: looked in the model's folder 'DIR'\n"
        "help: copy the file that the exporter wrote together with the model",
    ),
    (
        _outside,
        {"location": "../secret.bin"},
        f"the location '../secret.bin' is outside the model's folder\n{HELP_KEEP_BESIDE}",
    ),
    (None, {"location": "/dev/zero"}, f"the location '/dev/zero' is outside the model's folder\n{HELP_KEEP_BESIDE}"),
    (None, {"location": "."}, f"the location '.' is outside the model's folder\n{HELP_KEEP_BESIDE}"),
    (
        _symbolic_link,
        {"location": "link.bin"},
        f"the location 'link.bin' goes through a symbolic link or a file\n{HELP_KEEP_BESIDE}",
    ),
    (
        _linked_folder,
        {"location": "up/secret.bin"},
        f"the location 'up/secret.bin' goes through a symbolic link or a file\n{HELP_KEEP_BESIDE}",
    ),
    (
        _hard_link,
        {"location": "hard.bin"},
        "the location 'hard.bin' is a hard link, which may lead out of the model's folder\n"
        "help: replace it by a copy of the file",
    ),
    (_pipe, {"location": "pipe"}, f"the location 'pipe' is not a regular file\n{HELP_KEEP_BESIDE}"),
    (
        _short,
        {"location": "w.bin"},
        "bytes 0 to 24 do not lie within 'w.bin' of 20 bytes\n"
        "help: the data file is cut short or belongs to another model; copy it again",
    ),
    (
        _short,
        {"location": "w.bin", "length": "1125899906842624"},
        "the tensor takes 24 bytes, but the model says that 'w.bin' holds 1,125,899,906,842,624 for it",
    ),
    (
        _short,
        {"location": "w.bin", "offset": "-8"},
        "the offset '-8' of the external data is not a number of bytes",
    ),
    (_short, {"__class__": "x"}, "the tensor has external data, but the model does not say where"),
]


@pytest.mark.parametrize(("prepare", "entries", "expected"), REFUSED, ids=[str(entries) for _, entries, _ in REFUSED])
def test_external_data_that_is_refused(tmp_path: Path, prepare, entries: dict[str, str], expected: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if prepare:
        prepare(folder)
    path = saved(folder, external("w", (2, 3), **entries))
    with pytest.raises(InputError) as caught:
        import_model(path)
    assert message(caught.value, folder) == f"DIR/m.onnx: error: tensor 'w': {expected}"


def test_a_huge_shape_over_few_bytes_is_refused_before_data_is_touched(tmp_path: Path) -> None:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=(1_000_000_000,), raw_data=bytes(4))
    with pytest.raises(InputError) as caught:
        import_model(saved(tmp_path, weight, (1,)))
    assert message(caught.value, tmp_path) == (
        "DIR/m.onnx: error: tensor 'w': the shape [1000000000] takes 4,000,000,000 bytes, but there are 4"
    )


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (
            TensorProto(name="w", data_type=TensorProto.FLOAT, dims=(2, -3), raw_data=b""),
            "tensor 'w': the shape [2, -3] has a negative dimension",
        ),
        (
            TensorProto(name="w", data_type=TensorProto.FLOAT, dims=(2, 3), float_data=[1.0]),
            "tensor 'w': the shape [2, 3] takes 6 values, but there are 1",
        ),
        (
            TensorProto(name="w", data_type=TensorProto.FLOAT8E5M2, dims=(1,), raw_data=b"0"),
            "tensor 'w': the element type FLOAT8E5M2 is not supported\n"
            "note: supported: float32, float16, bfloat16, float64, int64, int32, int8, uint8, bool",
        ),
    ],
)
def test_tensors_that_are_refused(tmp_path: Path, weight: onnx.TensorProto, expected: str) -> None:
    with pytest.raises(PimcError) as caught:
        import_model(saved(tmp_path, weight))
    assert message(caught.value, tmp_path) == f"DIR/m.onnx: error: {expected}"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(graph_bytes=50), "the size in bytes is 132, the limit is 50"),
        (Limits(nodes=0), "the number of nodes is 1, the limit is 0"),
        (Limits(rank=1), "tensor 'w': the rank is 2, the limit is 1"),
        (Limits(elements=5), "tensor 'w': the number of elements is 6, the limit is 5"),
        (Limits(external_bytes=23), "tensor 'w': the external data in bytes is 24, the limit is 23"),
    ],
)
def test_limits(tmp_path: Path, limits: Limits, expected: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(24))
    path = saved(tmp_path, external("w", (2, 3), location="w.bin"))
    expected = expected.replace("132", str(path.stat().st_size))
    with pytest.raises(ResourceLimitError) as caught:
        import_model(load_model(path, limits))
    assert message(caught.value, tmp_path) == f"DIR/m.onnx: error: {expected}"
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("data_type", "field", "dtype"),
    [
        (TensorProto.FLOAT, "float_data", "float32"),
        (TensorProto.DOUBLE, "double_data", "float64"),
        (TensorProto.INT64, "int64_data", "int64"),
        (TensorProto.INT32, "int32_data", "int32"),
        (TensorProto.INT8, "int32_data", "int8"),
        (TensorProto.UINT8, "int32_data", "uint8"),
        (TensorProto.BOOL, "int32_data", "bool"),
        (TensorProto.FLOAT16, "int32_data", "float16"),
        (TensorProto.BFLOAT16, "int32_data", "bfloat16"),
    ],
)
def test_tensors_in_typed_fields(data_type: int, field: str, dtype: str) -> None:
    values = [1, 0]
    stored = [0x3C00, 0] if dtype == "float16" else [0x3F80, 0] if dtype == "bfloat16" else values
    weight = TensorProto(name="w", data_type=data_type, dims=(2,), **{field: stored})
    array = tensor_array(weight, ExternalFiles(Path(), Limits()), Limits(), Place())
    assert array.dtype.name == dtype
    assert array.astype(np.float64).tolist() == [1.0, 0.0]


def test_damaged_models_never_crash(tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    corpus = Path(__file__).parents[3] / "models" / "corpus" / "bert-dynamo.onnx"
    whole = bytearray(corpus.read_bytes())
    random = np.random.default_rng(7)
    outcomes = {"imported": 0, "refused": 0}
    for _ in range(150):
        damaged = bytearray(whole)
        for position in random.integers(0, min(len(whole), 20_000), 3):
            damaged[position] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            import_model(path)
        except PimcError:
            outcomes["refused"] += 1
        else:
            outcomes["imported"] += 1
    assert outcomes["refused"] > 5
    assert outcomes["imported"] > 5
