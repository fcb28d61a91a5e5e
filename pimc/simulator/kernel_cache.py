"""Where numba keeps compiled kernels: a folder of the user's cache that is named by the simulator's sources.

Numba's own cache notices a change only in the file of the kernel that is called, not in kernels that it calls. With the
hash of all sources in the folder's name, changed code is always compiled anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba

_KEPT_FOLDERS = 3
_IN_USE_S = 3600.0
"""Seconds for which a folder counts as in use: other versions of the sources may run at the same time."""


def _use_kernel_folder() -> Path | None:
    """Point numba at the folder, unless the user chose one by NUMBA_CACHE_DIR; remove folders of old sources."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pimc" / "kernels"
    folder = base / _sources_sha256()[:16]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.utime(folder)
    except OSError:
        return None
    settings: Any = numba.config
    settings.CACHE_DIR = str(folder)
    _remove_old(base)
    return folder


def _sources_sha256() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    folder = Path(__file__).parent
    for source in sorted(folder.rglob("*.py")):
        digest.update(source.relative_to(folder).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _remove_old(base: Path) -> None:
    """Remove folders that nobody uses, but for the latest."""
    used = sorted(_last_uses(base))
    unused = [folder for seconds, folder in used[:-_KEPT_FOLDERS] if seconds < time.time() - _IN_USE_S]
    for folder in unused:
        shutil.rmtree(folder, ignore_errors=True)


def _last_uses(base: Path) -> Iterator[tuple[float, Path]]:
    """Time of the last use and path of every folder; another process may remove one meanwhile."""
    for folder in base.iterdir():
        with suppress(FileNotFoundError):
            if folder.is_dir():
                yield folder.stat().st_mtime, folder


KERNEL_FOLDER = _use_kernel_folder()
"""The folder in use; `None` when the user chose another one, or when it cannot be made. Importing this module, before
any kernel is declared, is what makes numba use it."""
