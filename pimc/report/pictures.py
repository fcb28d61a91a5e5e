"""Pictures as files: SVG, a page around one, or PNG; and the look that all of them share."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from isa import InputError, MissingPackageError, Place, write_atomically
from pimc.files import check_output

ENDINGS = (".svg", ".html", ".png")
"""Forms of a picture, by the ending of its name."""

STYLE = (
    "text{font-family:Helvetica,Arial,'DejaVu Sans','Liberation Sans','Noto Sans',sans-serif;font-size:11px;fill:#222;"
    "stroke:#fff;stroke-width:3px;paint-order:stroke}.title{font-weight:bold;font-size:13px}"
    ".grid{stroke:#ddd}.axis{stroke:#555}.best{fill:#b3382c}.other{fill:#7f8790}"
)
"""Style sheet: titles, grids, axes, and dots in front of and among the others."""


def svg_document(width: int, height: int, parts: list[str], style: str = "") -> str:
    """An SVG picture on a white ground, with `style` behind the shared one."""
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}{style}</style>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>", ""])


def check_picture(path: str | Path) -> None:
    """Refuse, before the work, a name of a picture that could not be written behind it.

    Raises:
        InputError: the file cannot be written, or its ending is none of `ENDINGS`.
        MissingPackageError: PNG needs a package that is not installed.
    """
    check_output(path)
    suffix = Path(path).suffix.lower()
    if suffix not in ENDINGS:
        raise InputError(
            "a picture of this kind cannot be drawn", Place(str(path)), help=f"end its name in {', '.join(ENDINGS)}"
        )
    if suffix == ".png":
        _import_rasterizer()


def write_picture(path: str | Path, svg: str, page: str) -> None:
    """Write a picture in the form that the name's ending asks for: `page` is the one around it.

    Raises:
        MissingPackageError: PNG needs a package that is not installed.
        InputError: the file cannot be written.
    """
    match Path(path).suffix.lower():
        case ".png":
            contents = bytes(_import_rasterizer().svg_to_bytes(svg_string=svg, zoom=2))
        case ".html":
            contents = page.encode()
        case _:
            contents = svg.encode()
    with write_atomically(path) as stream:
        stream.write(contents)


def _import_rasterizer() -> Any:
    try:
        resvg_py = import_module("resvg_py")
    except ImportError:
        raise MissingPackageError(
            "PNG needs the package resvg-py", help='pip install "pimc[plot]", or give a name that ends in .svg or .html'
        ) from None
    return resvg_py
