"""Shapes of an SVG picture, well-formed whatever the names in it are."""

import re
from collections.abc import Iterable
from typing import Final
from xml.etree import ElementTree as ET

NOT_IN_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FONT: Final = "font-family: system-ui, sans-serif"
PALETTE: Final = (
    "#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#edc948", "#76b7b2", "#ff9da7", "#9c755f", "#86bcb6", "#d4a6c8",
)  # fmt: skip
GOLDEN_ANGLE: Final = 137.508


def family_colour(index: int) -> str:
    """Return a colour that differs from those of the other indices."""
    if index < len(PALETTE):
        return PALETTE[index]
    return f"hsl({index * GOLDEN_ANGLE % 360:.0f}, 45%, {45 + 20 * (index % 2)}%)"


class Picture:
    """An SVG picture; measures are pixels from the top left. It grows downwards as things are drawn."""

    def __init__(self, width: float, title: str) -> None:
        self._width = width
        self._height = 0.0
        self._root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "style": FONT})
        ET.SubElement(self._root, "title").text = _clean(title)
        hatch = {"id": "hatch", "width": "6", "height": "6", "patternUnits": "userSpaceOnUse"}
        pattern = ET.SubElement(
            ET.SubElement(self._root, "defs"), "pattern", hatch | {"patternTransform": "rotate(45)"}
        )
        ET.SubElement(pattern, "rect", {"width": "3", "height": "6", "fill": "#ffffff", "fill-opacity": "0.75"})
        self._paper = ET.SubElement(self._root, "rect", {"width": "100%", "height": "100%", "fill": "#ffffff"})

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str, *, hint: str = "", opacity: float = 1.0
    ) -> None:
        """Draw a rectangle; `hint` shows under the pointer."""
        fields = {"x": _px(x), "y": _px(y), "width": _px(max(width, 0.5)), "height": _px(height), "fill": fill}
        if opacity < 1:
            fields["fill-opacity"] = f"{opacity:g}"
        self._add("rect", fields, hint, bottom=y + height)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False) -> None:
        """Draw a line."""
        fields = {"x1": _px(x1), "y1": _px(y1), "x2": _px(x2), "y2": _px(y2), "stroke": colour}
        self._add("line", fields | ({"stroke-dasharray": "4 3"} if dashed else {}), "", bottom=max(y1, y2))

    def shape(self, corners: Iterable[tuple[float, float]], fill: str, *, hint: str = "") -> None:
        """Draw a polygon."""
        points = list(corners)
        text = " ".join(f"{_px(x)},{_px(y)}" for x, y in points)
        self._add("polygon", {"points": text, "fill": fill}, hint, bottom=max(y for _, y in points))

    def text(self, x: float, y: float, text: str, *, size: int = 11, anchor: str = "start", bold: bool = False) -> None:
        """Write text on the line at `y`; `anchor`: start, middle or end of it is at `x`."""
        fields = {"x": _px(x), "y": _px(y), "font-size": str(size), "text-anchor": anchor, "fill": "#222222"}
        element = self._add("text", fields | ({"font-weight": "bold"} if bold else {}), "", bottom=y + size)
        element.text = _clean(text)

    def to_svg(self) -> bytes:
        """Return the file."""
        width, height = f"{self._width:g}", f"{self._height + 10:.0f}"
        self._root.attrib |= {"width": width, "height": height, "viewBox": f"0 0 {width} {height}"}
        ET.indent(self._root, " ")
        text: str = ET.tostring(self._root, encoding="unicode")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()

    def _add(self, kind: str, fields: dict[str, str], hint: str, *, bottom: float) -> ET.Element:
        element = ET.SubElement(self._root, kind, fields)
        if hint:
            ET.SubElement(element, "title").text = _clean(hint)
        self._height = max(self._height, bottom)
        return element


def shortened(text: str, characters: int) -> str:
    """Return a text that is at most so long."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _clean(text: str) -> str:
    """Return a text without what XML can't hold in any way, like control characters."""
    return NOT_IN_XML.sub("\ufffd", text)


def _px(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
