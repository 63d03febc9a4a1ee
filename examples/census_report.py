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
        seconds: the CPU time that measuring it took.
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


# -- the table ------------------------------------------------------------------------------------------------------

HEAD = f"{'package':16}{'modules':>8}{'lines':>9}{'comments':>10}{'functions':>11}{'classes':>9}{'documented':>12}"


def row(name: str, sums: dict[str, Any]) -> str:
    """Return a line of the table."""
    documented = sums["documented"] / (sums["definitions"] or 1)
    return (
        f"{name:16.15}{sums['modules']:8,}{sums['lines']:9,}{sums['comments']:10,}{sums['functions']:11,}"
        f"{sums['classes']:9,}{documented:12.0%}"
    )


def overview(title: str, packages: Sequence[Package], rows: int | None = None) -> str:
    """Return the table as text, by outermost packages, the largest first, and what else is worth telling.

    Args:
        title: what it is about.
        packages: what to tell of.
        rows: the most packages to tell of, with less of the rest too, to fit on a screen; None for all.
    """
    few, columns = (5, 79) if rows else (50, None)
    groups = {name or "(no package)": figures(members) for name, members in grouped(packages, "outermost").items()}
    ranked = sorted(groups, key=lambda name: (-groups[name]["lines"], name))
    modules = [module for package in packages for module in package.modules]
    failed = [module for module in modules if module.failure]
    longest = sorted((module.longest for module in modules if module.longest[0]), reverse=True)
    lines = [title, "", HEAD, *(row(name, groups[name]) for name in ranked[:rows])]
    if rows is not None and len(ranked) > rows:
        lines.append(f"... and {len(ranked) - rows} more")
    lines += [row("all", figures(packages)), "", "Imported by most modules"]
    lines += [f"{n:8,}  {name}" for name, n in imports_of(modules)[:few]]
    lines += ["", "Longest functions, in lines"]
    lines += [f"{n:8,}  {name}" for n, name in longest[:few]]
    lines += ["", f"Could not be parsed: {len(failed):,} of {len(modules):,} modules"]
    lines += [f"  {module.name}: {module.failure}"[:columns] for module in failed[: few if rows else None]]
    return "\n".join([*lines, ""])


def imports_of(modules: Iterable[Module]) -> list[tuple[str, int]]:
    """Return what is imported, and by how many modules, the most wanted first."""
    counts = collections.Counter(name for module in modules for name in module.imports)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


# -- the picture ----------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 1280, 800
MAP: Box = (28, 96, 936, 640)
SIDE = 996  # where the column beside the map begins
COLOURS = [(253, 246, 222), (183, 219, 189), (82, 168, 166), (34, 102, 141), (24, 43, 94)]
MOST = 0.5  # the share of explanation that has the last colour
FRAME = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">
<style>
text {{ font-family: Inter, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; fill: #1d2433 }}
.title {{ font-size: 26px; font-weight: 700 }} .number {{ font-size: 23px; font-weight: 700 }}
.head {{ font-size: 11px; font-weight: 600 }} .note {{ font-size: 14px; fill: #667085 }}
.grey {{ font-size: 11px; fill: #667085 }} .name {{ font-size: 12px }} .on-dark {{ fill: #fff }}
.module {{ stroke: #fff; stroke-opacity: .6; stroke-width: .5 }} .bar {{ fill: #52a8a6 }}
</style>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fbfbfa"/>
%s
</svg>
"""


def treemap(sizes: Sequence[float], box: Box) -> list[Box]:
    """Cut a box into boxes whose areas are in proportion to sizes; their order stays, the largest first looks best."""
    if len(sizes) < 2:
        return [box] * len(sizes)
    total, first, cut = sum(sizes), sizes[0], 1
    while cut < len(sizes) - 1 and first + sizes[cut] / 2 < total / 2:
        first += sizes[cut]
        cut += 1
    x, y, width, height = box
    part = first / total
    if width > height:
        halves: tuple[Box, Box] = (x, y, width * part, height), (x + width * part, y, width * (1 - part), height)
    else:
        halves = (x, y, width, height * part), (x, y + height * part, width, height * (1 - part))
    return treemap(sizes[:cut], halves[0]) + treemap(sizes[cut:], halves[1])


def picture(title: str, packages: Sequence[Package]) -> str:
    """Return the picture as SVG: a treemap of the modules, and beside it the figures of all."""
    legend = "Each box is a module, as large as it has lines; the darker it is, the more of them explain the others."
    parts = [label(28, 50, title, "title"), label(28, 76, legend, "note")]
    groups = {
        name or "(no package)": sorted((m for p in members for m in p.modules if m.lines), key=lambda m: -m.lines)
        for name, members in grouped(packages, "outermost").items()
    }
    sizes = {name: sum(module.lines for module in modules) for name, modules in groups.items() if modules}
    ranked = sorted(sizes, key=lambda name: -sizes[name])
    for name, box in zip(ranked, treemap([sizes[name] for name in ranked], MAP), strict=True):
        parts += draw_package(name, groups[name], box)
    return FRAME % "\n".join([*parts, *draw_side(packages), *draw_scale()])


def draw_package(name: str, modules: Sequence[Module], box: Box) -> Iterator[str]:
    """Draw the box of an outermost package, with its name above the modules if it is large enough."""
    x, y, width, height = box[0] + 1.5, box[1] + 1.5, max(box[2] - 3, 0.1), max(box[3] - 3, 0.1)
    if len(name) * 7 < width and height > 40:
        yield label(x + 2, y + 11, name, "head")
        lines = f"{sum(module.lines for module in modules):,} lines"
        if len(name) * 7 + len(lines) * 7 + 8 < width:
            yield label(x + len(name) * 7 + 8, y + 11, lines, "grey")
        y, height = y + 15, height - 15
    parts = treemap([module.lines for module in modules], (x, y, width, height))
    for module, part in zip(modules, parts, strict=True):
        yield from draw_module(module, part)


def draw_module(module: Module, box: Box) -> Iterator[str]:
    """Draw the box of a module, with its name if that is legible, and with its figures where the mouse rests."""
    x, y, width, height = box
    share = (module.comments + module.docstring_lines) / module.lines
    colour = (201, 204, 211) if module.failure else shade(share)
    about = module.failure or f"{share:.0%} explanation, {module.functions:,} functions, {module.classes:,} classes"
    tip = escape(f"{module.name}: {module.lines:,} lines, {about}")
    shape = f'<rect class="module" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    yield f'{shape} fill="rgb{colour}"><title>{tip}</title></rect>'
    name = module.name.rpartition(".")[2]
    size = min(10, (width - 5) / (0.64 * len(name) or 1), height - 3)
    if size >= 6.5:
        yield label(x + 2.5, y + size + 1, name, "" if colour[1] > 130 else "on-dark", f' font-size="{size:.1f}"')


def draw_side(packages: Sequence[Package]) -> Iterator[str]:
    """Draw the column with the figures of all packages and what most modules import."""
    sums = figures(packages)
    facts = [(f"{sums[name]:,}", name) for name in ("modules", "lines", "functions", "classes")]
    facts.append((f"{sums['documented'] / (sums['definitions'] or 1):.0%}", "have a docstring"))
    facts.append((f"{sums['bytes'] / 1e6:.1f} MB", f"{sums['packed_bytes'] / 1e6:.1f} MB compressed"))
    for i, (number, what) in enumerate(facts):
        x, y = SIDE + 132 * (i % 2), 122 + 58 * (i // 2)
        yield label(x, y, number, "number")
        yield label(x, y + 17, what, "grey")
    top = imports_of(module for package in packages for module in package.modules)[:16]
    yield label(SIDE, 308, "Imported by most modules", "head")
    for i, (name, n) in enumerate(top):
        middle, length = 332 + 25.6 * i, 120 * n / top[0][1]
        yield label(SIDE, middle, name[:14], "name")
        yield f'<rect class="bar" x="{SIDE + 96}" y="{middle - 9:.1f}" width="{length:.1f}" height="11" rx="2"/>'
        yield label(SIDE + 102 + length, middle, f"{n:,}", "grey")


def draw_scale() -> Iterator[str]:
    """Draw the scale of the colours below the map."""
    x, y = MAP[0], MAP[1] + MAP[3] + 18
    stops = "".join(
        f'<stop offset="{i / (len(COLOURS) - 1)}" stop-color="rgb{colour}"/>' for i, colour in enumerate(COLOURS)
    )
    yield f'<linearGradient id="scale">{stops}</linearGradient>'
    yield f'<rect x="{x}" y="{y}" width="240" height="10" fill="url(#scale)"/>'
    explained = f"0 to {MOST:.0%} and more of the lines are comments or docstrings; grey: could not be parsed"
    yield label(x + 250, y + 9, explained, "grey")


def shade(share: float) -> tuple[int, int, int]:
    """Return the colour of a module of which that share explains."""
    place = min(share / MOST, 1) * (len(COLOURS) - 1)
    low = min(int(place), len(COLOURS) - 2)
    red, green, blue = (round(a + (b - a) * (place - low)) for a, b in zip(COLOURS[low], COLOURS[low + 1], strict=True))
    return red, green, blue


def label(x: float, y: float, text: str, style: str, more: str = "") -> str:
    """Return a line of text for the picture."""
    return f'<text class="{style}"{more} x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
