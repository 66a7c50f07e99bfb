"""How files of many types begin, for tests that look at content. Each is padded to be content."""

import struct
import zlib

_PADDING = bytes(200)


def png() -> bytes:
    """A whole picture of one pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def _brand(brand: bytes, *others: bytes) -> bytes:
    box = b"ftyp" + brand + bytes(4) + brand + b"".join(others)
    return struct.pack(">I", len(box) + 4) + box + _PADDING


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"

SAMPLES: dict[str, list[bytes]] = {
    "image/jpeg": [
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + _PADDING,
        b"\xff\xd8\xff\xe1\x12\x34Exif\x00\x00II*\0" + _PADDING,
        b"\xff\xd8\xff\xdb\x00\x43\x00" + _PADDING,
    ],
    "image/png": [png()],
    "image/gif": [b"GIF89a\x01\0\x01\0\x80\0\0" + _PADDING, b"GIF87a\x01\0\x01\0" + _PADDING],
    "image/webp": [b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0" + _PADDING],
    "image/avif": [_brand(b"avif", b"mif1", b"miaf")],
    "image/heic": [_brand(b"heic", b"mif1"), _brand(b"mif1", b"heic")],
    "image/vnd.adobe.photoshop": [b"8BPS\0\x01" + _PADDING, b"8BPS\0\x02" + _PADDING],
    "image/tiff": [b"II*\0\x08\0\0\0" + _PADDING, b"MM\0*\0\0\0\x08" + _PADDING],
    "video/mp4": [_brand(b"isom", b"iso2", b"avc1", b"mp41"), _brand(b"mp42", b"isom")],
    "video/quicktime": [_brand(b"qt  ")],
    "video/webm": [b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm" + _PADDING],
    "audio/mpeg": [b"ID3\x04\0\0\0\0\0\0" + _PADDING, b"\xff\xfb\x90\x64" + _PADDING],
    "application/pdf": [b"%PDF-1.7\n%\xe2\xe3\n" + _PADDING, b"junk\0\n%PDF-1.4\n" + _PADDING],
    "application/zip": [b"PK\x03\x04\x14\0\0\0\x08\0" + _PADDING],
    "application/gzip": [b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + _PADDING],
    "application/x-msdownload": [b"MZ\x90\0\x03\0\0\0" + _PADDING],
    "image/svg+xml": [
        SVG,
        b'<?xml version="1.0"?>\n<!-- drawn by hand -->\n' + SVG,
        b"\xef\xbb\xbf  <!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'x'><svg/>",
        "\ufeff<svg/>".encode("utf-16-le"),
        b'<svg:svg xmlns:svg="http://www.w3.org/2000/svg"/>',
        b"<SVG onload=alert(1)>",
    ],
    "text/html": [
        HTML,
        b"\n\t <sCript>alert(1)</script>",
        b"<html>",
        b"<!-- nothing yet",
        b"<!-- x --><body onload=alert(1)>",
        "\ufeff<!doctype html>".encode("utf-16-be"),
        b"<a href=x>",
    ],
    "application/xml": [b'<?xml version="1.0"?><note/>'],
}
UNSIGNED = [
    b"hello, this is text\n" * 20,
    b"BMW, and other words that look like a bitmap",
    b"<3 is a heart",
    b"<alpha>",
    b'{"json": true}',
    "höher, schneller".encode(),
    "\ufeffplain text".encode("utf-16-le"),
    bytes(500),
    b"GIF89a=1;alert(1)//",
]
