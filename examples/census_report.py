"""What the census finds, and how it is shown: figures of modules and packages, a table and a picture of them.

A treemap shows a tree by areas: here a box is a module, it lies in the box of its outermost package, and its area
is in proportion to its lines.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO
from xml.sax.saxutils import escape

Box = tuple[float, float, float, float]  # x and y of the upper left corner, width, height


@dataclasses.dataclass
class Module:
    """The figures of a module.

    Attributes:
        name: its dotted name.
        lines: its lines.
        comments: comments, on lines of their own or behind code.
        docstring_lines: lines of the docstrings of the module, its classes and functions.
        functions: functions and methods.
        classes: classes.
        documented: how many of functions, classes and the module itself have a docstring.
        longest: lines and name of its longest function.
        imports: the outermost packages that it imports.
        failure: why it could not be parsed, or nothing.
        seconds: how long measuring it took.
    """

    name: str
    lines: int = 0
    comments: int = 0
    docstring_lines: int = 0
    functions: int = 0
    classes: int = 0
    documented: int = 0
    longest: tuple[int, str] = (0, "")
    imports: set[str] = dataclasses.field(default_factory=set)
    failure: str = ""
    seconds: float = 0.0


@dataclasses.dataclass
class Package:
    """The figures of a package without the packages within, or of a part of it if it is very large.

    Attributes:
        path: its folder, relative to that of the census.
        lines: lines of its modules, as counted by wc.
        bytes: their size.
        packed_bytes: their size after compression.
        modules: the figures of each.
    """

    path: str
    lines: int
    bytes: int
    packed_bytes: int
    modules: list[Module]

    @property
    def outermost(self) -> str:
        """The name of the outermost package that it belongs to."""
        return self.path.partition(os.sep)[0]


def figures(packages: Iterable[Package]) -> dict[str, Any]:
    """Add up the figures of packages, under the names that the CSV file has."""
    packages = list(packages)
    modules = [module for package in packages for module in package.modules]
    parsed = [module for module in modules if not module.failure]
    sums: dict[str, Any] = {"modules": len(modules), "failures": len(modules) - len(parsed)}
    for name in ("lines", "bytes", "packed_bytes"):
        sums[name] = sum(getattr(package, name) for package in packages)
    for name in ("comments", "docstring_lines", "functions", "classes", "documented"):
        sums[name] = sum(getattr(module, name) for module in parsed)
    sums["definitions"] = sums["functions"] + sums["classes"] + len(parsed)
    sums["longest_lines"], sums["longest_function"] = max((m.longest for m in modules), default=(0, ""))
    return sums


def grouped(packages: Iterable[Package], attribute: str) -> dict[str, list[Package]]:
    """Sort packages by one of their attributes."""
    groups = collections.defaultdict(list)
    for package in packages:
        groups[getattr(package, attribute)].append(package)
    return groups


def write_csv(packages: Iterable[Package], stream: TextIO) -> None:
    """Write one line for each package; the modules outside of any package are the first, whose name is empty."""
    groups = sorted(grouped(packages, "path").items())
    writer = csv.DictWriter(stream, ["package", *figures([])])
    writer.writeheader()
    for path, members in groups:
        writer.writerow({"package": path.replace(os.sep, "."), **figures(members)})


# -- text -----------------------------------------------------------------------------------------------------------

HEAD = "package         modules      lines  comments  functions  classes  documented  longest function      kB  packed"


def overview(title: str, packages: Sequence[Package], rows: int | None = None) -> str:
    """Return the table as text, by outermost packages, the largest first, and what else is worth telling.

    Args:
        title: what it is about.
        packages: what to tell of.
        rows: at most so many packages, modules and failures; None for all.
    """
    groups = {name or "(no package)": figures(members) for name, members in grouped(packages, "outermost").items()}
    ranked = sorted(groups, key=lambda name: -groups[name]["lines"])
    lines = [title, "", HEAD, *(row(name, groups[name]) for name in ranked[:rows])]
    if rows is not None and len(ranked) > rows:
        lines.append(f"... and {len(ranked) - rows} more")
    lines += [row("all", figures(packages)), ""]
    modules = [module for package in packages for module in package.modules]
    lines.append("Imported by most modules")
    lines += [f"  {n:5,}  {name}" for name, n in imports_of(modules).most_common(rows and 5)]
    lines.append("Longest functions")
    lines += [f"  {n:5,}  {name}" for n, name in sorted((m.longest for m in modules), reverse=True)[: rows and 5]]
    failed = [module for module in modules if module.failure]
    return "\n".join(lines) + "\n"
