"""What content is, told from its first bytes, and whether that contradicts what was declared.

Binary formats are `filetype`'s table of signatures; markup, which has none and is what a browser
would run, is recognised here as the WHATWG MIME Sniffing standard does. Only a contradiction that
is certain counts: formats that share a container, and types that nothing is known about, do not.
"""

import re
from collections.abc import Iterator

import filetype

SNIFFED_BYTES = 8192  # more tells no more
UNKNOWN = "application/octet-stream"
HTML = "text/html"
SVG = "image/svg+xml"
XML = "application/xml"
_MARKUP = frozenset({HTML, SVG, XML})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The standard's list; a browser takes what begins with one of these for a page.
_HTML_TAGS = _words(
    "html head script iframe h1 div font table a style title b body br p link meta img embed "
    "object form base frameset"
)
_TAG = re.compile(r"<([a-z][\w.-]*(?::[\w.-]+)?)(?=[\s/>]|$)", re.ASCII | re.IGNORECASE)
_DOCTYPE = re.compile(r"<!doctype\s+([\w.:-]+)", re.ASCII | re.IGNORECASE)
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xfe\xff", "utf-16-be"),
    (b"\xff\xfe", "utf-16-le"),
)

# Different names of one type.
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/apng": "image/png",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "image/vnd.microsoft.icon": "image/x-icon",
    "image/x-photoshop": "image/vnd.adobe.photoshop",
    "application/x-photoshop": "image/vnd.adobe.photoshop",
    "application/photoshop": "image/vnd.adobe.photoshop",
    "application/x-pdf": "application/pdf",
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
    "application/xhtml+xml": HTML,
    "text/xml": XML,
    "audio/wav": "audio/x-wav",
    "audio/wave": "audio/x-wav",
    "audio/vnd.wave": "audio/x-wav",
    "audio/flac": "audio/x-flac",
    "audio/aiff": "audio/x-aiff",
    "audio/mp3": "audio/mpeg",
    "video/avi": "video/x-msvideo",
    "text/rtf": "application/rtf",
    "font/woff": "application/font-woff",
    "font/woff2": "application/font-woff",
    "font/ttf": "application/font-sfnt",
    "font/otf": "application/font-sfnt",
    "font/sfnt": "application/font-sfnt",
}
# Types that share a container: the first bytes do not tell them apart with certainty.
_FAMILIES = (
    _words(
        "video/mp4 audio/mp4 audio/x-m4a audio/aac video/x-m4v video/quicktime video/3gpp "
        "audio/3gpp video/3gpp2 audio/3gpp2"
    ),
    _words("image/heic image/heif image/heic-sequence image/heif-sequence"),
    _words("image/avif image/heif image/avif-sequence"),
    _words("video/webm audio/webm video/x-matroska audio/x-matroska"),
    _words("audio/ogg video/ogg application/ogg audio/opus"),
    _words("application/pdf application/postscript application/illustrator"),
    _words("audio/mpeg video/mpeg audio/aac"),
    _words("video/x-ms-wmv audio/x-ms-wma video/x-ms-asf"),
)
# Always recognised when they are what they say; content without their signature is something else.
_CERTAIN = _words(
    "image/jpeg image/png image/gif image/webp image/vnd.adobe.photoshop application/pdf "
    "application/zip"
)
# Signatures that plain text may have: of two letters, others are a coincidence ("BM" is a bitmap).
_TEXTUAL = _words("application/pdf application/postscript application/rtf")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_ZIPPED = re.compile(r"application/(zip$|epub\+zip$|vnd\.o)")
_GROUPS = frozenset(("image", "audio", "video", "font"))


def sniffed_type(head: bytes) -> str | None:
    """The type of content that begins with `head`; None when it has no sign of any."""
    markup = _markup(_text(head))
    if markup is not None:
        return markup
    kind = filetype.guess(head)
    if kind is not None and (kind.mime in _TEXTUAL or _CONTROL.search(head)):
        return _named(kind.mime)
    # A PDF may have something before its header.
    return "application/pdf" if b"%PDF-" in head[:1024] else None


def contradicts(declared: str, sniffed: str | None) -> bool:
    """Is content of type `sniffed` certainly not of type `declared` (bare, in lower case)?"""
    declared = _named(declared)
    if declared in (UNKNOWN, sniffed):
        return False
    if sniffed is None:
        return declared in _CERTAIN
    if sniffed in _MARKUP:
        return _is_binary(declared) or (declared == SVG and sniffed == HTML)
    return not _may_be(declared, sniffed)


def _may_be(declared: str, sniffed: str) -> bool:
    """May content with the signature of `sniffed` be of type `declared` all the same?"""
    if any(declared in family and sniffed in family for family in _FAMILIES):
        return True
    group = declared.partition("/")[0]
    if declared in _CERTAIN or declared == SVG:
        return False
    if group == "text":
        return sniffed in _TEXTUAL
    if group in _GROUPS:  # `image/x-adobe-dng` is a TIFF with a name of its own
        return group == sniffed.partition("/")[0] and declared not in _SNIFFED
    # An app's own type can be a ZIP, a database, anything: only types with a signature are known.
    return bool(_ZIPPED.match(sniffed)) or declared not in _SNIFFED


def _is_binary(declared: str) -> bool:
    """Is this a type that no markup is an instance of?"""
    group = declared.partition("/")[0]
    return declared != SVG and (group in _GROUPS or declared in _CERTAIN or declared in _SNIFFED)


def _named(content_type: str) -> str:
    return _ALIASES.get(content_type, content_type)


_SNIFFED = frozenset(_named(kind.mime) for kind in filetype.types) - {UNKNOWN}


def _text(head: bytes) -> str:
    """As characters, whatever they are: only ASCII is looked for."""
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return head[len(bom) :].decode(encoding, errors="replace")
    return head.decode("latin-1")


def _markup(text: str) -> str | None:
    declared_xml = False
    for part in _parts(text):
        if part.startswith("<?"):
            declared_xml = True
        elif part.startswith("<!--"):
            if not part.endswith("-->"):
                return XML if declared_xml else HTML
        else:
            found = _DOCTYPE.match(part) or _TAG.match(part)
            if found is not None:
                root = found[1].lower().rpartition(":")[2]
                if root == "svg":
                    return SVG
                if root in _HTML_TAGS:
                    return HTML
                if part.lower().startswith("<!doctype"):
                    return XML
            break
    return XML if declared_xml else None


def _parts(text: str) -> Iterator[str]:
    """What a document begins with, one by one: declarations, comments, then all the rest."""
    at = 0
    while True:
        while at < len(text) and text[at] in " \t\n\f\r":
            at += 1
        for opening, closing in (("<?", "?>"), ("<!--", "-->")):
            if text.startswith(opening, at):
                end = text.find(closing, at + len(opening))
                end = len(text) if end < 0 else end + len(closing)
                yield text[at:end]
                at = end
                break
        else:
            yield text[at:]
            return
