"""Laws of what charts and diagrams are written with: elements, texts, colours."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kck_flow.drawing import palette, svg

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # surrogates and control characters, too


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_makes_well_formed_xml_that_says_it(attribute: str, content: str) -> None:
    written = svg.element("g", svg.escape(content), data_name=attribute)
    read = ET.fromstring(written)
    if (content + attribute).isprintable():
        assert (read.text or "", read.get("data-name")) == (content, attribute)


@given(st.floats(-1e6, 1e6))
def test_numbers_are_short_and_near(value: float) -> None:
    written = svg.number(value)
    assert abs(float(written) - value) <= 0.051
    assert written == "0" or not (
        written.endswith(".0") or (written.startswith("-0") and float(written) == 0)
    )


def test_attributes_are_named_as_svg_names_them() -> None:
    assert svg.element("path", d="M0 0", stroke_width=1.25, class_="a", fill=None) == (
        '<path d="M0 0" stroke-width="1.2" class="a"/>'
    )


@given(ANY_TEXT, st.floats(0, 300), st.booleans())
def test_a_fitted_text_fits(content: str, width: float, bold: bool) -> None:
    cut = svg.fit(content, width, bold=bold)
    assert svg.text_width(cut, bold=bold) <= width or cut == ""
    assert cut == content or cut == "" or content.startswith(cut.removesuffix("…"))


def test_a_picture_is_named_and_described() -> None:
    root = ET.fromstring(
        svg.picture(
            [],
            width=10,
            height=5,
            id="a",
            title="T < U",
            description="D",
            data={"x": "</metadata>&"},
            tab_stop=True,
        )
    )
    found = {element.get("id"): element.text for element in root}
    assert found[root.get("aria-labelledby")] == "T < U"
    assert found[root.get("aria-describedby")] == "D"
    assert (root.get("role"), root.get("tabindex"), root.get("width"), root.get("height")) == (
        "img",
        "0",
        "100%",
        None,
    )
    assert root.findtext("{*}metadata") == '{"x":"</metadata>&"}'


def test_a_picture_that_stands_alone_brings_colours_fonts_and_size() -> None:
    root = ET.fromstring(svg.picture([], width=10, height=5, id="a", title="T", theme="dark"))
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("10", "5", "0 0 10 5")
    assert root.get("font-family")
    assert root.find("{*}rect").get("fill") == palette.DARK["surface"]


@pytest.mark.parametrize("tokens", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_every_pairing_has_its_contrast(tokens: dict[str, str]) -> None:
    for surface in palette.SURFACES:
        for name in palette.TEXTS:
            assert palette.contrast(tokens[name], tokens[surface]) >= 6, (name, surface)
        for name in palette.LINES if surface != "shade" else palette.SERIES:
            assert palette.contrast(tokens[name], tokens[surface]) >= 3, (name, surface)
    for name in ("grid", "shade"):  # they decorate, but are to be seen
        assert palette.contrast(tokens[name], tokens["surface"]) >= 1.1, name


def test_both_themes_have_the_same_tokens() -> None:
    assert list(palette.LIGHT) == list(palette.DARK) == list(palette.colors())
    assert {*palette.SURFACES, *palette.TEXTS, *palette.LINES, "grid"} == set(palette.LIGHT)


def test_css_says_what_the_palette_says() -> None:
    written = palette.css()
    light, dark = written.partition("@media")[0], written.partition("@media")[2]
    for name in palette.LIGHT:
        assert f"--kck-{name}:{palette.LIGHT[name]}" in light
        assert f"--kck-{name}:{palette.DARK[name]}" in dark
    assert written.count("{color-scheme:dark;") == written.count("{color-scheme:light;") == 2


def test_contrast_is_that_of_the_guidelines() -> None:
    assert palette.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert palette.contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=0.001)


# How colours look to those who lack one kind of cone (Machado, Oliveira, Fernandes, 2009; severity 1), on linear RGB.
SIGHTS = {
    "full": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def oklab(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """Where a colour (linear RGB) is in a space in which distances are those that people see (Ottosson, 2020)."""
    l = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)  # noqa: E741
    m = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    s = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return (
        0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
        1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
        0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s,
    )


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("tokens", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_series_are_told_apart_whoever_looks(tokens: dict[str, str], sight: str) -> None:
    seen = {}
    for name in palette.SERIES:
        shares = [int(tokens[name][at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
        seen[name] = oklab(*(sum(a * b for a, b in zip(row, linear, strict=True)) for row in SIGHTS[sight]))
    for one, other in combinations(palette.SERIES, 2):
        least = 0.12 if max(one, other) <= "series-4" else 0.08
        assert math.dist(seen[one], seen[other]) >= least, (one, other)


def test_series_are_told_apart_without_colour() -> None:
    assert len(set(zip(palette.DASHES, palette.MARKERS, strict=True))) == len(palette.SERIES)
