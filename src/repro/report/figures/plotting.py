"""Figures as PNG and SVG, by matplotlib: equal data give equal bytes; colours that colour-blind readers can tell apart.

The paper's points are hollow and dashed, ours are filled and solid; each series has its own marker, and its name stands
beside its last point, so nothing depends on colour. matplotlib is imported here and only inside functions.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.report.figures.panels import Figure, Panel, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

INK = "#1b1b1b"
"""Text and axes. The page replaces it by the colour of its own text."""
_QUIET = "#7a7a7a"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b8860b", "#aa4499", "#332288", "#56b4e9", "#882255")
"""After Okabe and Ito, with yellow darkened so that it is legible on white; they differ in lightness too."""
_MARKERS = "osD^vPX*"
_COLUMNS = 2
_WIDTH, _HEIGHT = 4.6, 3.5
"""Inches of one panel."""
_ALONE = (6.8, 4.6)
"""Inches of a panel that is a figure by itself."""
_LINE = 0.2
"""Inches of a line of the title."""
_DPI = 110


def draw(figure: Figure) -> tuple[bytes, str]:
    """A figure as the bytes of a PNG and the text of an SVG; both carry the digest of what they were drawn from."""
    made_from = digest(figure)
    with _settings(figure.name):
        canvas = _canvas(figure)
        png, svg = io.BytesIO(), io.StringIO()
        canvas.savefig(png, format="png", dpi=_DPI, metadata={"Software": None, "Comment": made_from})
        canvas.savefig(svg, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return png.getvalue(), _accessible(svg.getvalue(), figure, made_from)


def drawn(figure: Figure, folder: Path) -> tuple[bytes, str]:
    """As `draw`, but what lies in a folder already is taken from there if it was drawn from the same data and code."""
    made_from = digest(figure)
    try:
        png, svg = (folder / f"{figure.name}.png").read_bytes(), (folder / f"{figure.name}.svg").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return draw(figure)
    return (png, svg) if made_from.encode() in png and made_from in svg.partition(">")[0] else draw(figure)


def digest(figure: Figure) -> str:
    """16 hex digits of the figure's data, this file and the release of matplotlib."""
    from importlib.metadata import version

    parts = (repr(figure), Path(__file__).read_text("utf-8"), version("matplotlib"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@contextmanager
def _settings(salt: str) -> Iterator[None]:
    """matplotlib's defaults and ours, whatever the user's own settings are."""
    import matplotlib

    ours: dict[Any, Any] = {
        "svg.hashsalt": salt,
        "svg.fonttype": "none",
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "axes.titlesize": 9,
        "text.color": INK,
        "axes.edgecolor": _QUIET,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#9a9a9a",
        "grid.alpha": 0.3,
        "grid.linewidth": 0.6,
        # A name such as `a_b` is text, never a formula.
        "text.parse_math": False,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(ours)
        yield


def _canvas(figure: Figure) -> Canvas:
    from matplotlib.figure import Figure as Canvas

    count = len(figure.panels)
    columns = min(count, _COLUMNS)
    lines = -(-count // columns)
    empty = not any(series.points for panel in figure.panels for series in panel.series)
    width, height = _ALONE if count == 1 else (columns * _WIDTH, lines * _HEIGHT)
    height = 0.5 * height if empty else height
    title = "\n".join(textwrap.wrap(figure.title, int(width * 12)))
    if figure.stand_in:
        title += "\nour own runs on stand-in models: not a setting of any paper"
    height += _LINE * (title.count("\n") + 1)
    canvas = Canvas(figsize=(width, height))
    top = canvas.suptitle(title, fontsize=10, fontweight="bold", x=0.012, ha="left", y=1 - 0.08 / height, va="top")
    top.set_in_layout(False)
    for index, panel in enumerate(figure.panels):
        _panel(canvas.add_subplot(lines, columns, index + 1), panel)
    canvas.tight_layout(rect=(0, 0, 1, 1 - _LINE * (title.count("\n") + 2) / height), h_pad=1.6, w_pad=1.6)
    return canvas


def _panel(axes: Axes, panel: Panel) -> None:
    note = "\n".join(textwrap.wrap(panel.full_note, 76))
    lines = note.count("\n") + 1
    axes.set_title(textwrap.fill(panel.title, 58), loc="left", fontweight="bold", pad=6 + 9.5 * lines)
    axes.text(0, 1.02, note, transform=axes.transAxes, fontsize=7.5, style="italic", color=INK, va="bottom")
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    labels = [
        label for index, series in enumerate(panel.series) if (label := _series(axes, series, _slot(panel, index)))
    ]
    if not labels:
        _empty(axes, panel)
        return
    if panel.diagonal:
        low, high = axes.get_xlim()
        axes.plot([low, high], [low, high], color=_QUIET, linewidth=0.8, linestyle=":")
    if panel.frame:
        axes.set_ylim(*panel.frame)
    _axis(axes, panel)
    _names(axes, labels)


def _slot(panel: Panel, index: int) -> int:
    """Which colour and marker: those of the label, so that the paper's series and ours match."""
    labels = list(dict.fromkeys(series.label for series in panel.series))
    return labels.index(panel.series[index].label) % len(_COLOURS)


def _series(axes: Axes, series: Series, slot: int) -> tuple[float, float, str, str] | None:
    """Draws a series; (x, y, label, colour) of its last point, None where it has none."""
    if not series.points:
        return None
    colour, marker = _COLOURS[slot], _MARKERS[slot]
    xs, ys = [point.x for point in series.points], [point.y for point in series.points]
    line = "none" if not series.joined else "-" if series.ours else "--"
    fill = colour if series.ours else "none"
    width = 1.6 if series.ours else 1.1
    axes.plot(xs, ys, color=colour, marker=marker, linestyle=line, linewidth=width, markersize=5, markerfacecolor=fill)
    ends = [(p.x, p.low, p.high) for p in series.points if p.low is not None and p.high is not None]
    if ends and not series.ours:
        x, low, high = (list(side) for side in zip(*ends, strict=True))
        axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
    elif ends:
        x, low, high = (list(side) for side in zip(*ends, strict=True))
        axes.vlines(x, low, high, color=colour, linewidth=1.2)
    for point in series.points:
        if point.collapsed:
            axes.annotate("collapsed", (point.x, point.y), (6, -3), textcoords="offset points", fontsize=7, color=INK)
    return xs[-1], ys[-1], series.label, colour


def _axis(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    xs = sorted({point.x for series in panel.series for point in series.points})
    if panel.categories:
        shown = [textwrap.fill(label.replace("_", " "), 15) for label in panel.categories]
        axes.set_xticks(range(len(shown)), shown, fontsize=7.5)
        axes.set_xlim(-0.5, len(shown) - 0.3)
        return
    if panel.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    ticks = panel.ticks or (tuple(xs) if len(xs) <= 8 and xs[-1] < 1e4 else ())
    if ticks:
        axes.xaxis.set_major_locator(FixedLocator(_apart(ticks, panel.log_x)))
        axes.plot([min(ticks), max(ticks)], [axes.get_ylim()[0]] * 2, alpha=0, scaley=False)
    elif panel.log_x and xs[-1] < 30 * xs[0]:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: compact(x)))
    axes.margins(x=0.12)


def _apart(ticks: Sequence[float], logarithmic: bool) -> list[float]:
    """The ticks whose labels do not touch: each at least a fourteenth of the axis after the one before."""
    place = {tick: math.log(tick) if logarithmic else tick for tick in sorted(ticks)}
    least = (max(place.values()) - min(place.values())) / 14
    kept: list[float] = []
    for tick, at in place.items():
        if not kept or at - place[kept[-1]] >= least:
            kept.append(tick)
    return kept


def compact(number: float) -> str:
    """A number for an axis: `1.5B`, `250M`, `100K`, `20`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e4, "K")):
        if abs(number) >= size:
            return f"{number / (1e3 if letter == 'K' else size):g}{letter}"
    return f"{number:g}"


def _names(axes: Axes, labels: list[tuple[float, float, str, str]]) -> None:
    """Names beside the last points, moved apart where they would cover each other."""
    named = sorted((label for label in labels if label[2]), key=lambda label: label[1])
    if not named:
        return
    canvas = axes.get_figure(root=True)
    height = canvas.get_figheight() if canvas is not None else _HEIGHT
    low, high = axes.get_ylim()
    least = (high - low) * 0.055
    placed: list[float] = []
    for _, y, _, _ in named:
        placed.append(max(y, placed[-1] + least) if placed else y)
    # Those that grew out at the top come down again, and push what is below them.
    top = high
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], top)
        top = placed[index] - least
    for (x, y, name, colour), at in zip(named, placed, strict=True):
        axes.annotate(
            name.replace("_", " "),
            (x, y),
            (7, (at - y) / (high - low) * axes.get_position().height * height * 72),
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
            va="center",
            annotation_clip=False,
        ).set_gid(f"name-{colour[1:]}")


def _empty(axes: Axes, panel: Panel) -> None:
    """A panel with nothing to draw says why, and what the paper says of it."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    text = textwrap.fill(panel.text or panel.note, 46)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=8, color=INK)


# ---- SVG that a screen reader understands and a strict page may contain


def _accessible(svg: str, figure: Figure, made_from: str) -> str:
    """The SVG with title and description; ids that nothing refers to and style attributes are taken out.

    A page whose policy forbids inline styles ignores `style="..."`; the same properties as attributes are allowed.
    """
    from xml.sax.saxutils import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r' style="([^"]*)"', lambda found: _attributes(found[1]), svg)
    named = (
        f' data-digest="{made_from}" role="img" aria-labelledby="{figure.name}-title {figure.name}-description">'
        f'<title id="{figure.name}-title">{escape(figure.title)}</title>'
        f'<desc id="{figure.name}-description">{escape(figure.description)}</desc>'
    )
    head, _, rest = svg.partition(">")
    return f"{head}{named}{rest}"


def _attributes(style: str) -> str:
    """`fill: none; font: 8px 'DejaVu Sans'` as attributes; the short form of a font is taken apart."""
    found = []
    for part in style.split(";"):
        name, _, value = (text.strip() for text in part.partition(":"))
        if name == "font":
            *words, _ = value.partition("px")[0].split()
            size = value.partition("px")[0].split()[-1]
            found.append(f'font-size="{size}px" font-family="DejaVu Sans, Verdana, sans-serif"')
            found += [f'font-style="{word}"' for word in words if word == "italic"]
            found += [f'font-weight="{word}"' for word in words if word in ("bold", "700")]
        elif name:
            found.append(f'{name}="{value}"')
    return "".join(f" {text}" for text in found)
