"""A plug-in as pip leaves it on the disk: a package, and a folder `.dist-info` with its entry points."""

from __future__ import annotations

from pathlib import Path

EXECUTOR = '''
from parsl.executors.threads import ThreadPoolExecutor

class PluggedExecutor(ThreadPoolExecutor):
    """An executor from elsewhere."""

not_a_class = 5
'''


def install(folder: Path, entry_points: str, name: str = "plugged", code: str = EXECUTOR) -> None:
    """Install a package of one module into a folder, which the caller puts on the search path."""
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(entry_points)
