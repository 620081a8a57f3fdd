"""Turns a matplotlib figure into an SVG for the page: its text stays text, in both languages, and it loads nothing."""

import io
import re
from collections.abc import Iterator
from xml.dom import minidom

import matplotlib
from matplotlib.figure import Figure

from mammo.plots.style import any_letters
from mammo.report.page.words import translate

NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
REFERENCE = re.compile(r"url\(#([^)]+)\)|^#(.+)$")
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
    document = minidom.parseString(file.getvalue())
    root = document.getElementsByTagName("svg")[0]
    for attribute in ("width", "height"):
        root.removeAttribute(attribute)
    root.setAttribute("focusable", "false")
    root.setAttribute("aria-hidden", "true")
    _drop(root)
    _rename(root, name)
    for text in list(root.getElementsByTagName("text")):
        _write_both(document, text)
    return root.toxml()


def _drop(element: minidom.Element) -> None:
    """Remove comments, metadata and the style sheet, which would apply to the whole page."""
    for child in list(element.childNodes):
        is_comment = child.nodeType == child.COMMENT_NODE
        if is_comment or child.nodeName in ("metadata", "style"):
            element.removeChild(child)
        elif isinstance(child, minidom.Element):
            _drop(child)


def _rename(root: minidom.Element, name: str) -> None:
    """Put the drawing's name before each id that is referred to; remove the others."""
    elements = list(_walk(root))
    used = {
        match
        for element in elements
        for _, value in element.attributes.items()
        for pair in REFERENCE.findall(value)
        for match in pair
    }
    for element in elements:
        for key, value in list(element.attributes.items()):
            if key == "id" and value not in used:
                element.removeAttribute("id")
            elif key == "id":
                element.setAttribute("id", f"{name}-{value}")
            elif "#" in value and REFERENCE.search(value):
                element.setAttribute(key, re.sub(r"(url\(#|^#)(?=[\w-])", rf"\g<1>{name}-", value))


def _walk(element: minidom.Element) -> Iterator[minidom.Element]:
    yield element
    for child in element.childNodes:
        if isinstance(child, minidom.Element):
            yield from _walk(child)


def _write_both(document: minidom.Document, text: minidom.Element) -> None:
    """Leave the fonts to the page; where the words are known, write them in English and Chinese."""
    style = FONT.sub(
        lambda found: f"font-size: {found[2]}" + ("; font-weight: 700" if found[1] else ""), text.getAttribute("style")
    )
    style = FONT_FAMILY.sub("", style)
    text.setAttribute("style", style.strip())
    words = "".join(child.data for child in text.childNodes if child.nodeType == child.TEXT_NODE)
    chinese = translate(words)
    if chinese is None or len(text.childNodes) != 1:
        return
    text.removeChild(text.childNodes[0])
    for language, content in (("en", words), ("zh", chinese)):
        span = document.createElement("tspan")
        span.setAttribute("class", language)
        span.appendChild(document.createTextNode(content))
        text.appendChild(span)
