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
        rows: the most packages to tell of, and less of the rest; None for all.
    """
    few = 5 if rows else 20
    groups = {name or "(no package)": figures(members) for name, members in grouped(packages, "outermost").items()}
    ranked = sorted(groups, key=lambda name: -groups[name]["lines"])
    modules = [module for package in packages for module in package.modules]
    failed = [module for module in modules if module.failure]
    more = len(ranked) - len(ranked[:rows])
    return "\n".join([
        title,
        "",
        HEAD,
        *(row(name, groups[name]) for name in ranked[:rows]),
        *([f"... {more} more"] if more else []),
        row("all", figures(packages)),
        "",
        "Imported by most modules",
        *(f"  {n:6,}  {name}" for name, n in imports_of(modules)[:few]),
        "",
        "Longest functions",
        *(f"  {n:6,} lines  {name}" for n, name in sorted((m.longest for m in modules), reverse=True)[:few]),
        "",
        f"Could not be parsed: {len(failed)} of {len(modules):,}",
        *(f"  {module.name}: {module.failure}"[: 79 if rows else None] for module in failed[: few if rows else None]),
    ])


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
STYLE = """
text { font-family: Inter, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif; fill: #1d2433 }
.small { font-size: 9px } .head { font-size: 11px; font-weight: 600 } .grey { fill: #667085 }
.module { stroke: #fff; stroke-opacity: .65; stroke-width: .5 } .package { fill: #fff }
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
    if width > height:
        part = width * first / total
        halves: tuple[Box, Box] = (x, y, part, height), (x + part, y, width - part, height)
    else:
        part = height * first / total
        halves = (x, y, width, part), (x, y + part, width, height - part)
    return treemap(sizes[:cut], halves[0]) + treemap(sizes[cut:], halves[1])


def picture(title: str, packages: Sequence[Package]) -> str:
    """Return the picture as SVG: a treemap of the modules, and beside it the figures of all."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fbfbfa"/>',
        label(28, 50, title, 'font-size="26" font-weight="700"'),
        label(28, 76, "Each box is a module, as large as it has lines; the darker, the more of them explain the rest.",
              'font-size="14" class="grey"'),
    ]  # fmt: skip
    groups = {
        name: sorted((m for p in members for m in p.modules if m.lines), key=lambda m: -m.lines)
        for name, members in grouped(packages, "outermost").items()
    }
    ranked = sorted(((sum(m.lines for m in modules), name) for name, modules in groups.items() if modules), reverse=True)
    for (size, name), box in zip(ranked, treemap([size for size, _ in ranked], MAP)):
        parts += draw_package(name or "(no package)", size, groups[name], box)
    return "\n".join([*parts, *draw_side(packages), *draw_legend(), "</svg>", ""])


def draw_package(name: str, size: int, modules: Sequence[Module], box: Box) -> Iterator[str]:
    """Draw the box of an outermost package, with a headline if it is large enough."""
    x, y, width, height = box[0] + 1.5, box[1] + 1.5, max(box[2] - 3, 0.1), max(box[3] - 3, 0.1)
    head = f"{name}  {size:,}" if fits(f"{name}  {size:,}", 11, width) else name
    if fits(head, 11, width) and height > 40:
        yield label(x + 3, y + 11, head, 'class="head"')
        y, height = y + 15, height - 15
    for module, part in zip(modules, treemap([module.lines for module in modules], (x, y, width, height))):
        yield from draw_module(module, part)


def draw_module(module: Module, box: Box) -> Iterator[str]:
    """Draw the box of a module, with its name if that fits and all about it where the mouse rests."""
    x, y, width, height = box
    share = (module.comments + module.docstring_lines) / module.lines
    red, green, blue = shade(share)
    about = module.failure or f"{share:.0%} explanation, {module.functions:,} functions, {module.classes:,} classes"
    tip = escape(f"{module.name}: {module.lines:,} lines, {about}")
    fill = "#c9ccd3" if module.failure else f"#{red:02x}{green:02x}{blue:02x}"
    yield (
        f'<rect class="module" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}">'
        f"<title>{tip}</title></rect>"
    )
    name = module.name.rpartition(".")[2]
    if height > 13 and fits(name, 9, width):
        ink = "" if module.failure or green > 130 else ' style="fill:#fff"'
        yield label(x + 3, y + 10, name, f'class="small"{ink}')


def draw_side(packages: Sequence[Package]) -> Iterator[str]:
    """Draw the column with the figures of all packages and the most wanted imports."""
    sums = figures(packages)
    modules = [module for package in packages for module in package.modules]
    facts = [(f"{sums[name]:,}", name) for name in ("modules", "lines", "functions", "classes")]
    facts.append((f"{sums['documented'] / (sums['definitions'] or 1):.0%}", "of them documented"))
    facts.append((f"{sums['bytes'] / 1e6:.1f} MB", f"{sums['packed_bytes'] / 1e6:.1f} MB compressed"))
    for i, (number, what) in enumerate(facts):
        x, y = SIDE + 132 * (i % 2), 122 + 58 * (i // 2)
        yield label(x, y, number, 'font-size="23" font-weight="700"')
        yield label(x, y + 17, what, 'font-size="11" class="grey"')
    top = imports_of(modules)[:16]
    yield label(SIDE, 308, "Imported by most modules", 'font-size="13" font-weight="600"')
    for i, (name, n) in enumerate(top):
        y = 332 + 25.6 * i
        yield label(SIDE, y, name[:16], 'font-size="12"')
        yield f'<rect x="{SIDE + 96}" y="{y - 9:.1f}" width="{120 * n / top[0][1]:.1f}" height="11" rx="2" fill="#52a8a6"/>'
        yield label(SIDE + 102 + 120 * n / top[0][1], y, f"{n:,}", 'font-size="11" class="grey"')


def draw_legend() -> Iterator[str]:
    """Draw the scale of the colours below the map."""
    x, y = MAP[0], MAP[1] + MAP[3] + 18
    for i in range(100):
        red, green, blue = shade(MOST * i / 99)
        yield f'<rect x="{x + 2.4 * i:.1f}" y="{y}" width="2.6" height="10" fill="#{red:02x}{green:02x}{blue:02x}"/>'
    yield label(x + 250, y + 9, f"0 to {MOST:.0%} of the lines are comments or docstrings", 'font-size="11" class="grey"')


def shade(share: float) -> tuple[int, int, int]:
    """Return the colour of a module of which that share explains."""
    place = min(max(share / MOST, 0), 1) * (len(COLOURS) - 1)
    low = min(int(place), len(COLOURS) - 2)
    red, green, blue = (round(a + (b - a) * (place - low)) for a, b in zip(COLOURS[low], COLOURS[low + 1]))
    return red, green, blue


def fits(text: str, size: float, width: float) -> bool:
    """Tell whether a text of a font size fits into a width, for letters of usual width."""
    return len(text) * size * 0.6 + 6 < width


def label(x: float, y: float, text: str, attributes: str) -> str:
    """Return a line of text for the picture."""
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'
