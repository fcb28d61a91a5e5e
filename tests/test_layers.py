"""The shape of the house: directions of imports, doors of packages, what the product never does, sizes."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("isa", "passes", "pimc")
ALLOWED = {"isa": {"isa"}, "passes": {"isa", "passes"}, "pimc": {"isa", "passes", "pimc"}}
DOORS = ("isa", "passes", "pimc.backend", "pimc.frontend", "pimc.simulator")
FORBIDDEN_MODULES = {
    "pickle", "shelve", "marshal", "subprocess", "socket", "urllib", "http", "requests", "ftplib", "tarfile", "torch"
}  # fmt: skip
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {("os", "system"), ("os", "popen"), ("pickle", "loads"), ("yaml", "load"), ("yaml", "unsafe_load")}


def _files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.lineno, str(node.module)


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_there_are_files_to_look_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in _files()} == set(PACKAGES)


def test_imports_go_one_way() -> None:
    top_level = {*PACKAGES, "models", "tests", "benchmarks"}
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: imports {name}"
        for path in _files()
        for line, name in _imports(path)
        if name.partition(".")[0] in top_level - ALLOWED[path.relative_to(ROOT).parts[0]]
    ]
    assert wrong == []


def test_packages_are_entered_by_their_door() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: imports {name}; import {door}"
        for path in _files()
        for line, name in _imports(path)
        for door in DOORS
        if name.startswith(f"{door}.") and not f"{_module(path)}.".startswith(f"{door}.")
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["isa", "pimc"])
def test_no_lazy_name_is_hidden_by_a_module(package: str) -> None:
    """Loading a module sets it as an attribute of its package, over a function of that name not loaded yet."""
    lazy = set(importlib.import_module(package)._LAZY)
    assert lazy
    assert lazy & {path.stem for path in (ROOT / package).iterdir()} == set()


def test_the_product_uses_no_dangerous_modules() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: imports {name}"
        for path in _files()
        for line, name in _imports(path)
        if name.partition(".")[0] in FORBIDDEN_MODULES
    ]
    assert wrong == []


def test_the_product_executes_no_data() -> None:
    wrong = [f"{path.relative_to(ROOT)}:{line}: {what}" for path in _files() for line, what in _dangerous_calls(path)]
    assert wrong == []


def _dangerous_calls(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in FORBIDDEN_CALLS:
            yield node.lineno, called.id
        if (
            isinstance(called, ast.Attribute)
            and isinstance(called.value, ast.Name)
            and (called.value.id, called.attr) in FORBIDDEN_METHODS
        ):
            yield node.lineno, f"{called.value.id}.{called.attr}"
        if any(keyword.arg == "allow_pickle" and _is_true(keyword.value) for keyword in node.keywords):
            yield node.lineno, "allow_pickle"
        if any(keyword.arg == "shell" and _is_true(keyword.value) for keyword in node.keywords):
            yield node.lineno, "shell"


def _is_true(value: ast.expr) -> bool:
    return not (isinstance(value, ast.Constant) and value.value is False)


def test_no_file_outgrows_the_style() -> None:
    lines = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in _files()}
    long = [name for name, count in lines.items() if count > 400]
    assert long == []


def test_no_function_outgrows_the_style() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines"
        for path in _files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := _body_lines(node)) > 30
    ]
    assert long == []


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without parameters, docstring, and functions inside it, which count themselves."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    inner = [each for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    return _span(body) - sum(_span([each]) for each in inner)


def _span(statements: list[ast.stmt]) -> int:
    return (statements[-1].end_lineno or 0) - statements[0].lineno + 1 if statements else 0


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("eval('1')", ["eval"]),
        ("np.load(f, allow_pickle=True)", ["allow_pickle"]),
        ("np.load(f, allow_pickle=False)", []),
    ],
)
def test_dangerous_calls_are_found(tmp_path: Path, source: str, found: list[str]) -> None:
    path = tmp_path / "sample.py"
    path.write_text(source)
    assert [what for _, what in _dangerous_calls(path)] == found
