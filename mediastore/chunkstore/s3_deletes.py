"""S3's two documents of a delete of many keys: what is asked, and what became of each key.

botocore's model-driven writer and parser took most of the CPU of a delete of 1,000 keys. This
writes and reads the same XML, and is strict in what matters: a key is deleted only if a whole
answer of the right kind names it. So it is never asked to be quiet: silence would count as deleted.
"""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, ParseError, fromstring
from xml.sax.saxutils import escape

from mediastore.chunkstore.s3_translation import Refusal
from mediastore.errors import ChunkStoreUnavailable, StorageFull

OPERATION = "delete_many"
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?><Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
)
_UNPARSED = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}  # a parser would read them as others


def request_document(keys: Iterable[str]) -> bytes:
    """The body of DeleteObjects for full keys, prefix included."""
    objects = "".join([f"<Object><Key>{escape(key, _UNPARSED)}</Key></Object>" for key in keys])
    return f"{_HEAD}{objects}</Delete>".encode()


def fates(body: bytes) -> dict[str, str | None]:
    """Each full key that an answer names, with its error code; None when deleted.

    A key that was not there counts as deleted; one that is named both ways does not.
    Raises ChunkStoreUnavailable or StorageFull when it is no result of a delete.
    """
    result = _parsed(body)
    named = [(_key(entry), _code(entry)) for entry in result if _name(entry) in _KINDS]
    found: dict[str, str | None] = {}
    for key, code in named:
        found[key] = found.get(key) or code
    return found


_KINDS = ("Deleted", "Error")


def _parsed(body: bytes) -> Element:
    try:
        text = body.decode()
        if "<!DOCTYPE" in text:  # S3 sends none, and without one there are no entities to expand
            raise _not_a_result()
        result = fromstring(text)  # noqa: S314
    except (UnicodeDecodeError, ParseError) as error:
        raise _not_a_result() from error
    if _name(result) == "Error":  # some failures come with status 200
        raise _error(body)
    if _name(result) != "DeleteResult":
        raise _not_a_result()
    return result


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(entry: Element, name: str) -> str | None:
    for child in entry:
        if _name(child) == name:
            return child.text or ""
    return None


def _key(entry: Element) -> str:
    key = _text(entry, "Key")
    if not key:
        raise _not_a_result()
    return key


def _code(entry: Element) -> str | None:
    if _name(entry) == "Deleted":
        return None
    code = _text(entry, "Code") or "unknown"
    return None if code == "NoSuchKey" else code


def _error(body: bytes) -> ChunkStoreUnavailable | StorageFull:
    return Refusal.of(200, body).error(OPERATION)


def _not_a_result() -> ChunkStoreUnavailable:
    return ChunkStoreUnavailable("the chunk store's answer is not a result of a delete")
