"""What `import isa` costs, and what it offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import isa


def test_importing_isa_loads_no_heavy_package() -> None:
    program = "import sys, isa; print(sorted({'pydantic', 'yaml', 'lark', 'numba', 'onnx', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_text_and_binary_of_a_program_need_no_grammar() -> None:
    program = (
        "import sys, isa; isa.manual(); isa.disassemble; isa.load_program; isa.check_program;"
        " print(sorted({'pydantic', 'yaml', 'lark'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", isa.__all__)
def test_every_promised_name_exists(name: str) -> None:
    assert getattr(isa, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'isa' has no attribute 'unknown'"):
        _ = isa.unknown  # type: ignore[attr-defined]
