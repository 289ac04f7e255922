"""Figures with a slider that also work in a printed page: every frame is drawn beforehand.

A page of the book has no kernel, so a slider there can only choose among pictures that are already
in the page. `frames` draws them, at most 12 of about 10 kB each, and shows them with a plain HTML
slider, which works offline, by keyboard, on a phone, in light and dark pages, and with any number
of such figures on a page. Where HTML is not shown (print, a PDF), only the start frame appears.

Chapters 3 (noise rate) and 4 (step size) use them. The caller draws the pictures, mostly by
`nlmeta.plots`.
"""

import base64
import html
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from PIL import Image

from nlmeta import _checks

if TYPE_CHECKING:
    import ipywidgets

__all__ = ["Frames", "frames"]

Value = TypeVar("Value")

_MOST_FRAMES = 12
_MOST_BYTES = 300_000  # of the page: a chapter with its outputs has to stay under 500 kB

# One attribute instead of a script with ids: it finds its own card from the slider, so figures
# cannot get in each other's way, and it runs wherever HTML does.
_ON_INPUT = (
    "const card=this.closest('.nlmeta-frames');"
    "const all=card.querySelectorAll('.nlmeta-frame');"
    "const shown=all[this.value];"
    "all.forEach(one=>{one.style.display=one===shown?'block':'none'});"
    "this.setAttribute('aria-valuetext',shown.dataset.value);"
    "card.querySelector('output').textContent=shown.dataset.value;"
)
# A white card, since the frames are white: dark themes neither shine through nor dim it.
_CARD = (
    "box-sizing:border-box;width:{width}px;max-width:100%;margin:0.5em 0;padding:10px;"
    "background:#fff;color:#1a1a1a;color-scheme:light;border:1px solid #ccc;border-radius:6px"
)
_IMAGE = "display:{display};width:100%;height:auto;margin:0;padding:0;background:#fff;filter:none"
_ROW = "display:flex;align-items:center;gap:10px;margin-top:6px;color:#1a1a1a"


@dataclass(frozen=True)
class Frames:
    """Drawn frames and the texts of their slider; a notebook shows the object as a figure.

    Attributes
    ----------
    pngs : tuple of bytes
        The frames.
    texts : tuple of str
        The value of each frame, as written beside the slider.
    start : int
        Index of the frame that is shown first; without HTML it is the only one.
    label, alt, caption : str
        The arguments of `frames`.
    width : int
        Largest width of the figure in the page, in CSS pixels.
    """

    pngs: tuple[bytes, ...]
    texts: tuple[str, ...]
    start: int
    label: str
    alt: str
    caption: str
    width: int

    def __repr__(self) -> str:
        return (
            f"{self.alt} A slider chooses the {self.label}: {', '.join(self.texts)}. "
            f"Shown first: {self.texts[self.start]}."
        )

    def _repr_html_(self) -> str:
        images = "\n".join(self._image(k) for k in range(len(self.pngs)))
        label, shown = html.escape(self.label), html.escape(self.texts[self.start])
        caption = (
            f'<p class="nlmeta-caption" style="margin:6px 0 0;color:#1a1a1a">'
            f"{html.escape(self.caption)}</p>\n"
            if self.caption
            else ""
        )
        # autocomplete: a browser that reloads a page would otherwise keep the slider where it
        # was, under the start frame. data-lm-...: JupyterLab takes arrow keys for its own.
        return (
            f'<div class="nlmeta-frames" role="group" aria-label="{label}" '
            f'style="{_CARD.format(width=self.width)}">\n{images}\n'
            f'<div style="{_ROW}"><label style="{_ROW};margin:0;flex:1;min-width:0">'
            f"<span>{label}</span>"
            f'<input class="nlmeta-slider" type="range" min="0" max="{len(self.pngs) - 1}" '
            f'step="1" value="{self.start}" aria-valuetext="{shown}" autocomplete="off" '
            f'data-lm-suppress-shortcuts="true" oninput="{_ON_INPUT}" '
            f'style="flex:1;min-width:0;height:24px;margin:0;accent-color:#0072B2"></label>'
            f'<output aria-live="off" style="min-width:4em;font-variant-numeric:tabular-nums">'
            f"{shown}</output></div>\n{caption}</div>"
        )

    def _image(self, k: int) -> str:
        text = html.escape(self.texts[k])
        style = _IMAGE.format(display="block" if k == self.start else "none")
        return (
            f'<img class="nlmeta-frame" data-value="{text}" style="{style}" '
            f'alt="{html.escape(self.alt)} {html.escape(self.label)}: {text}" '
            f'src="data:image/png;base64,{_base64(self.pngs[k])}">'
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        del include, exclude  # the front end chooses among the three
        return {
            "text/plain": repr(self),
            "image/png": _base64(self.pngs[self.start]),
            "text/html": self._repr_html_(),
        }


def frames(
    draw: Callable[[Value], Figure | Artist],
    values: Sequence[Value],
    *,
    label: str,
    alt: str,
    start: Value | None = None,
    caption: str = "",
    format_value: Callable[[Value], str] = "{}".format,
    width: int = 560,
    dpi: int = 100,
    interactive: bool = False,
) -> "Frames | ipywidgets.VBox":
    """Make a figure with a slider over some values of one quantity.

    Parameters
    ----------
    draw : callable
        A function ``draw(value)`` that draws the figure of one value and returns it or its axes. It
        is called once for each value; figures that it opens are closed again. All figures should
        have the same size.
    values : sequence
        2 to 12 values, in the order of the slider.
    label : str
        Name of the quantity that the slider changes, such as "noise rate".
    alt : str
        A sentence that describes the figure for readers who cannot see it.
    start : optional
        The value shown first, one of `values`. Default: the first.
    caption : str, default ""
        A sentence under the slider.
    format_value : callable, default ``str.format``'s
        A function that turns a value into the text beside the slider, such as ``"{:.0%}".format``.
    width : int, default 560
        Largest width in the page, in CSS pixels; on narrow screens the figure is smaller.
    dpi : int, default 100
        Resolution of the frames: a figure 5 inches wide has 500 pixels.
    interactive : bool, default False
        If True, the result is an ipywidgets slider (version 7.7 or newer) for a live kernel. It
        draws a value when it is chosen, so any number of values is allowed. Stored notebooks do not
        use it, since a page has no kernel.

    Returns
    -------
    Frames or ipywidgets.VBox
        The figure, which should be the last line of a cell. The same call gives the same HTML, byte
        for byte, on the same versions of matplotlib and Pillow.

    Raises
    ------
    ValueError
        If there are too few or too many values, `start` is not among them, or the frames
        together would add more than 300 kB to the page.
    TypeError
        If `draw` does not return a figure.
    ImportError
        If `interactive` is set and ipywidgets is missing.
    """
    _checks.check_count("width", width)
    _checks.check_count("dpi", dpi)
    if len(values) < 2 or (len(values) > _MOST_FRAMES and not interactive):
        raise ValueError(f"`values` holds {len(values)} values; it must hold 2 to {_MOST_FRAMES}")
    if start is not None:
        _checks.check_choice("start", start, values)
    first = 0 if start is None else list(values).index(start)
    texts = tuple(format_value(value) for value in values)
    if interactive:
        return _live(lambda k: _png(draw, values[k], dpi), texts, first, label, caption)
    pngs = tuple(_png(draw, value, dpi) for value in values)
    size = sum(len(_base64(png)) for png in pngs)
    if size > _MOST_BYTES:
        raise ValueError(
            f"the {len(pngs)} frames of `draw` add {size // 1000} kB to the page; "
            f"at most {_MOST_BYTES // 1000} kB are allowed: draw fewer or simpler frames, "
            "or lower `dpi`"
        )
    return Frames(pngs, texts, first, label, alt, caption, width)


def _live(
    render: Callable[[int], bytes], texts: tuple[str, ...], first: int, label: str, caption: str
) -> "ipywidgets.VBox":
    """The slider for a live kernel, from parts that ipywidgets 7 and 8 have in common."""
    try:
        import ipywidgets  # here, since importing nlmeta must not need it
    except ImportError as error:
        raise ImportError(
            "`interactive` is True; it needs ipywidgets 7.7 or newer (pip install ipywidgets)"
        ) from error
    image = ipywidgets.Image(value=render(first), format="png", layout={"max_width": "100%"})
    slider = ipywidgets.SelectionSlider(
        options=[(text, k) for k, text in enumerate(texts)],
        value=first,
        description=label,
        continuous_update=False,  # draw when the slider rests
        style={"description_width": "initial"},
        layout={"width": "90%"},
    )

    def show(change: dict[str, Any]) -> None:
        image.value = render(change["new"])

    slider.observe(show, names="value")
    text = [ipywidgets.HTML(html.escape(caption))] if caption else []
    return ipywidgets.VBox([image, slider, *text])


def _png(draw: Callable[[Value], Figure | Artist], value: Value, dpi: int) -> bytes:
    """Draw one frame as a PNG of 128 colours, which has at most half of the usual size.

    The colours are chosen to cover all colours evenly. Pillow's default prefers frequent ones, and
    rare greys of one heat map may then turn red beside a red heat map.
    """
    with _closing_new_figures():
        drawn = draw(value)
        figure = drawn if isinstance(drawn, Figure) else getattr(drawn, "figure", None)
        if not isinstance(figure, Figure):
            raise TypeError(
                f"`draw` returned {drawn!r}; it must return the figure or the axes it drew"
            )
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=dpi, facecolor="white")
    small = io.BytesIO()
    Image.open(picture).convert("RGB").quantize(
        128, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    ).save(small, format="PNG", optimize=True)
    return small.getvalue()


@contextmanager
def _closing_new_figures() -> Iterator[None]:
    before = set(plt.get_fignums())
    try:
        yield
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def _base64(png: bytes) -> str:
    return base64.b64encode(png).decode("ascii")
