"""A picture of how times grow: lines over two logarithmic axes, as SVG, without a library."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 30, 60
COLOURS = ("#1f6feb", "#c2410c", "#6b7280")
_STYLE = (
    "text{font:13px sans-serif;fill:#444}line.grid{stroke:#ddd}"
    "polyline{fill:none;stroke-width:2}rect.paper{fill:#fff}"
)


@dataclass(frozen=True, slots=True)
class Line:
    """Points in order; from `measured` of them on, they are extrapolated and drawn dashed."""

    points: Sequence[tuple[float, float]]
    measured: int


@dataclass(frozen=True, slots=True)
class Axes:
    """From a power of ten to a power of ten, each."""

    x_low: int
    x_high: int
    y_low: int
    y_high: int

    @classmethod
    def around(cls, lines: Sequence[Line]) -> "Axes":
        xs = [math.log10(x) for line in lines for x, _ in line.points]
        ys = [math.log10(y) for line in lines for _, y in line.points]
        return cls(math.floor(min(xs)), math.ceil(max(xs)), math.floor(min(ys)), math.ceil(max(ys)))

    def x(self, value: float) -> float:
        share = (math.log10(value) - self.x_low) / (self.x_high - self.x_low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (math.log10(value) - self.y_low) / (self.y_high - self.y_low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def svg(title: str, x_title: str, y_title: str, lines: Mapping[str, Line]) -> str:
    axes = Axes.around(list(lines.values()))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{title}</title><style>{_STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        *_grid(axes),
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">{x_title}</text>',
        f'<text x="{LEFT}" y="18">{y_title}</text>',
    ]
    for (name, line), colour in zip(lines.items(), COLOURS, strict=False):
        parts += _line(axes, name, line, colour)
    return "\n".join([*parts, "</svg>", ""])


def _grid(axes: Axes) -> list[str]:
    parts = []
    for power in range(axes.x_low, axes.x_high + 1):
        x = axes.x(10**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" '
                     f'y2="{HEIGHT - BOTTOM}"/>')  # fmt: skip
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
                     f"{10**power:,}</text>")  # fmt: skip
    for power in range(axes.y_low, axes.y_high + 1):
        y = axes.y(10.0**power)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" '
                     f'y2="{y:.1f}"/>')  # fmt: skip
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
                     f"{10.0**power:,g}</text>")  # fmt: skip
    return parts


def _line(axes: Axes, name: str, line: Line, colour: str) -> list[str]:
    places = [f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in line.points]
    measured, guessed = places[: line.measured], places[line.measured - 1 :]
    dots = [place.split(",") for place in measured]
    x, y = places[-1].split(",")
    return [
        f'<polyline stroke="{colour}" points="{" ".join(measured)}"/>',
        f'<polyline stroke="{colour}" stroke-dasharray="5 5" points="{" ".join(guessed)}"/>',
        *(f'<circle r="4" fill="{colour}" cx="{x}" cy="{y}"/>' for x, y in dots),
        (
            f'<text x="{float(x) - 6:.1f}" y="{float(y) - 10:.1f}" text-anchor="end" '
            f'style="fill:{colour}">{name}</text>'
        ),
    ]
