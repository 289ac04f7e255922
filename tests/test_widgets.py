"""Tests of nlmeta.widgets; that the slider moves in a browser is the page tests' to show."""

import base64
import html.parser
import io
import re
import runpy
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from nlmeta import noise, plots, seeding, widgets

mpl.use("Agg")

VALUES = [0.0, 0.25, 0.5]


def draw(value):
    figure, ax = plt.subplots(figsize=(3, 2))
    ax.set_title(f"value {value}")
    ax.plot([0, value], [0, 1])
    return figure


def make(**changes):
    options = {"label": "noise rate", "alt": "A line.", "start": 0.25, **changes}
    return widgets.frames(options.pop("draw", draw), options.pop("values", VALUES), **options)


class Elements(html.parser.HTMLParser):
    """All elements of some HTML, in order, as (tag, attributes); fails when one stays open."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def elements(figure):
    return Elements(figure._repr_mimebundle_()["text/html"])


def test_a_notebook_gets_text_a_still_picture_and_html():
    figure = make()
    bundle = figure._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/png", "text/html"}
    assert bundle["text/plain"] == (
        "A line. A slider chooses the noise rate: 0.0, 0.25, 0.5. Shown first: 0.25."
    )
    assert base64.b64decode(bundle["image/png"]) == figure.pngs[1]


def test_there_is_one_picture_for_each_value_and_the_start_alone_is_shown():
    images = elements(make()).all("img")
    assert [image["data-value"] for image in images] == ["0.0", "0.25", "0.5"]
    assert ["display:block" in image["style"] for image in images] == [False, True, False]
    assert ["display:none" in image["style"] for image in images] == [True, False, True]
    assert [image["alt"] for image in images][2] == "A line. noise rate: 0.5"
    assert all(image["class"] == "nlmeta-frame" for image in images)


def test_the_pictures_are_in_the_page_and_differ():
    sources = [image["src"] for image in elements(make()).all("img")]
    assert len(set(sources)) == 3
    for source in sources:
        prefix, data = source.split(",")
        assert prefix == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (300, 200)


def test_the_slider_is_a_native_one_with_a_label_and_a_spoken_value():
    found = elements(make())
    (slider,) = found.all("input")
    wanted = {"type": "range", "min": "0", "max": "2", "step": "1", "value": "1"}
    assert wanted.items() <= slider.items()
    assert slider["class"] == "nlmeta-slider"
    assert slider["aria-valuetext"] == "0.25"
    assert "aria-valuetext" in slider["oninput"]  # and follows the slider
    tags = [tag for tag, _ in found.found]
    assert tags[tags.index("input") - 2 : tags.index("input")] == ["label", "span"]
    assert tags[tags.index("input") + 1] == "output"


def test_the_page_needs_nothing_from_outside_and_no_id_that_could_clash():
    text = make()._repr_mimebundle_()["text/html"]
    assert "http" not in text
    assert "<script" not in text
    assert re.search(r"\bid=", text) is None


def test_the_card_is_white_and_fits_a_narrow_screen():
    card = elements(make(width=480)).all("div")[0]
    assert card["class"] == "nlmeta-frames"
    for style in ("background:#fff", "max-width:100%", "width:480px"):
        assert style in card["style"]


def test_the_same_call_gives_the_same_bytes():
    assert make()._repr_mimebundle_() == make()._repr_mimebundle_()


def test_what_the_reader_writes_is_escaped():
    figure = make(label='"rate" <r>', alt='a < "b"', caption="<b>& so on</b>")
    text = figure._repr_mimebundle_()["text/html"]
    assert elements(figure).all("div")[0]["aria-label"] == '"rate" <r>'
    assert "&lt;b&gt;&amp; so on&lt;/b&gt;" in text
    assert elements(figure).all("b") == []


def test_values_are_written_as_asked_and_the_first_is_the_default_start():
    figure = make(start=None, format_value="{:.0%}".format)
    assert figure.texts == ("0%", "25%", "50%")
    assert figure.start == 0
    assert elements(figure).all("input")[0]["value"] == "0"


def test_every_value_is_drawn_once_and_every_figure_closed():
    drawn = []

    def counting(value):
        drawn.append(value)
        plt.figure()  # one more than the function returns
        return draw(value)

    kept = plt.figure()
    make(draw=counting)
    assert drawn == VALUES
    assert plt.get_fignums() == [kept.number]  # the caller's own stays
    plt.close(kept)


def test_figures_are_closed_also_when_drawing_fails():
    def failing(value):
        draw(value)
        raise RuntimeError("no ink")

    with pytest.raises(RuntimeError, match="no ink"):
        make(draw=failing)
    assert plt.get_fignums() == []


def test_axes_will_do_in_place_of_a_figure():
    assert make(draw=lambda value: draw(value).axes[0]).pngs == make().pngs


def test_frames_of_a_transition_matrix_are_small():
    """Around 10 kB each: a chapter with two such figures of 12 frames stays under 500 kB."""
    figure = make(
        draw=lambda rate: plots.transition_matrix(noise.symmetric(10, rate)),
        values=[0.1, 0.5, 0.8],
        start=None,
    )
    assert max(len(png) for png in figure.pngs) < 15_000
    assert plt.get_fignums() == []


def test_a_grey_heat_map_stays_grey_beside_a_red_one():
    """A palette that follows the frequent colours gives rare greys the red of the other map."""

    def two_maps(value):
        figure, (left, right) = plt.subplots(1, 2, figsize=(5.2, 2.7))
        cells = torch.rand(40, 40, generator=seeding.generator(0, "two heat maps")).numpy()
        left.imshow(0.1 * cells**4, cmap="Greys", vmin=0, vmax=0.15)
        right.imshow(1 - value * cells, cmap="RdBu_r", vmin=-1, vmax=1)
        return figure

    for png in make(draw=two_maps, values=[0.5, 0.4], start=None).pngs:
        pixels = np.array(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        colour = pixels.max(axis=2) - pixels.min(axis=2)  # 0 for a grey
        half = pixels.shape[1] // 2
        assert colour[:, half:].max() > 100
        assert colour[:, :half].max() < 13  # 6 of 255 is what a channel may be off


def test_refuses_too_many_or_too_few_values():
    text = "`values` holds {} values; it must hold 2 to 12"
    for count in (1, 13):
        with pytest.raises(ValueError, match=re.escape(text.format(count))):
            make(values=list(range(count)), start=None)


def test_refuses_a_start_that_is_none_of_the_values():
    with pytest.raises(ValueError, match=re.escape("`start` is 0.3; it must be one of 0.0, 0.25")):
        make(start=0.3)


def test_refuses_frames_that_are_too_heavy_for_a_page(monkeypatch):
    monkeypatch.setattr(widgets, "_MOST_BYTES", 5_000)
    with pytest.raises(ValueError, match=r"the 3 frames of `draw` add \d+ kB to the page; at most"):
        make()


def test_refuses_a_draw_that_returns_no_figure():
    with pytest.raises(TypeError, match=re.escape("`draw` returned None; it must return the")):
        make(draw=lambda value: None)


def test_a_live_kernel_gets_a_slider_that_draws_what_is_chosen():
    ipywidgets = pytest.importorskip("ipywidgets")
    box = make(interactive=True, caption="Move it.")
    (image,) = [part for part in box.children if isinstance(part, ipywidgets.Image)]
    (slider,) = [part for part in box.children if isinstance(part, ipywidgets.SelectionSlider)]
    still = make()
    assert slider.description == "noise rate"
    assert image.value == still.pngs[1]
    slider.value = 2
    assert image.value == still.pngs[2]
    slider.value = 0
    assert image.value == still.pngs[0]
    assert plt.get_fignums() == []


def test_a_live_kernel_draws_on_demand_so_more_values_will_do():
    pytest.importorskip("ipywidgets")
    drawn = []

    def counting(value):
        drawn.append(value)
        return draw(value)

    make(draw=counting, values=list(range(50)), start=7, interactive=True)
    assert drawn == [7]


def test_ipywidgets_is_needed_only_when_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # what a missing package looks like
    runpy.run_path(widgets.__file__)
    assert len(make().pngs) == 3
    with pytest.raises(ImportError, match="`interactive` is True; it needs ipywidgets 7.7"):
        make(interactive=True)
