"""Files whose scripts tell a site that they ran, for tests that show them in a browser."""

from collections.abc import Mapping
from dataclasses import dataclass

SVG_SIDES = (123, 45)


@dataclass(frozen=True, slots=True)
class Hostile:
    """What is uploaded, and as what."""

    content_type: str
    filename: str
    body: bytes


def hostile_files(beacon: str) -> Mapping[str, Hostile]:
    """By name; each asks for `beacon`, a URL that its name is put behind, when its script runs."""
    return {
        "svg": Hostile("image/svg+xml", "drawing.svg", _svg(beacon + "svg")),
        "html": Hostile("text/html", "page.html", _html(beacon + "html")),
        "xhtml": Hostile("application/xhtml+xml", "page.xhtml", _xhtml(beacon + "xhtml")),
        "pdf": Hostile("application/pdf", "bill.pdf", _pdf(beacon + "pdf")),
    }


def _call(beacon: str) -> str:
    return f"new Image().src='{beacon}'"


def _svg(beacon: str) -> bytes:
    wide, high = SVG_SIDES
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
        f'onload="{_call(beacon)}"><script>{_call(beacon)}</script>'
        f'<image href="{beacon}-image" width="9" height="9"/>'
        '<foreignObject width="9" height="9"><body xmlns="http://www.w3.org/1999/xhtml">'
        f'<img src="{beacon}-missing" onerror="{_call(beacon)}"/></body></foreignObject></svg>'
    ).encode()


def _html(beacon: str) -> bytes:
    return (
        f"<!doctype html><html><head><script>{_call(beacon)}</script>"
        f'<meta http-equiv="refresh" content="0;url={beacon}"></head>'
        f'<body onload="{_call(beacon)}"><img src="{beacon}-missing" onerror="{_call(beacon)}">'
        "</body></html>"
    ).encode()


def _xhtml(beacon: str) -> bytes:
    return (
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title>'
        f"<script>{_call(beacon)}</script></head><body/></html>"
    ).encode()


def _pdf(beacon: str) -> bytes:
    """One empty page; opening it shows a dialog that names `beacon` (ISO 32000-1, 12.6.4.16)."""
    objects = (
        b"<</Type/Catalog/Pages 2 0 R/OpenAction 4 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>",
        b'<</S/JavaScript/JS(app.alert\\("%s"\\))>>' % beacon.encode(),
    )
    written, places = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(written))
        written += b"%d 0 obj%bendobj\n" % (number, content)
    rows = b"".join(b"%010d 00000 n \n" % place for place in places)
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + rows
    trailer = b"trailer<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        len(written),
    )
    return written + table + trailer
