"""Turns a matplotlib figure into an SVG for the page: its text stays text, in both languages, and it loads nothing."""

import io
import re
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from mammo.plots.style import any_letters
from mammo.report.page.words import translate

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
REFERENCE = re.compile(r"(?<=url\(#)[^)]+|(?<=^#).+$")
FONT_FAMILY = re.compile(r"\s*font-family:[^;]*;?")
FONT = re.compile(r"font:\s*(bold |[67]00 )?[^;]*?([\d.]+px)[^;]*")  # how matplotlib before 3.10 writes all in one


def to_svg(figure: Figure, name: str) -> str:
    """Draw.

    Args:
        figure: Not changed.
        name: Letters and underscores; all ids of the drawing begin with it, so that they are unique on the page.
    """
    file = io.StringIO()
    # The browser draws the letters, so matplotlib's own font need not have them.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), any_letters():
        figure.savefig(file, format="svg", metadata=NO_METADATA)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(file.getvalue())
    del root.attrib["width"], root.attrib["height"]
    root.attrib.update({"focusable": "false", "aria-hidden": "true"})
    for element in root.iter():
        for child in list(element):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):  # a style would apply to the whole page
                element.remove(child)
    _rename(root, name)
    for text in list(root.iter(f"{{{SVG}}}text")):
        _write_both(text)
    return ElementTree.tostring(root, encoding="unicode")


def _rename(root: ElementTree.Element, name: str) -> None:
    """Put the drawing's name before each id that is referred to; remove the others."""
    used = {found for element in root.iter() for value in element.attrib.values() for found in REFERENCE.findall(value)}
    for element in root.iter():
        if element.get("id", "") not in used:
            element.attrib.pop("id", None)
        for key, value in element.attrib.items():
            element.set(key, f"{name}-{value}" if key == "id" else REFERENCE.sub(rf"{name}-\g<0>", value))


def _write_both(text: ElementTree.Element) -> None:
    """Leave the fonts to the page; where the words are known, write them in English and Chinese."""
    style = FONT.sub(
        lambda found: f"font-size: {found[2]}" + ("; font-weight: 700" if found[1] else ""), text.get("style", "")
    )
    text.set("style", FONT_FAMILY.sub("", style).strip())
    words = text.text or ""
    chinese = translate(words)
    if chinese is None or len(text):
        return
    text.text = None
    for language, content in (("en", words), ("zh", chinese)):
        ElementTree.SubElement(text, f"{{{SVG}}}tspan", {"class": language}).text = content
