"""The XML of a delete of many keys: botocore reads the same of it, and doubt is no delete."""

from xml.etree.ElementTree import fromstring

import pytest
from botocore.parsers import create_parser
from botocore.session import get_session
from hypothesis import given
from hypothesis import strategies as st

from mediastore.chunkstore.s3_deletes import fates, request_document
from mediastore.errors import ChunkStoreUnavailable, StorageFull

CHARACTER = st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\r\n\t&<>")
KEY = st.text(CHARACTER, min_size=1)
XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
OPERATION = get_session().get_service_model("s3").operation_model("DeleteObjects")
THEIRS = create_parser("rest-xml")


@given(keys=st.lists(KEY, max_size=5, unique=True))
def test_any_key_is_read_back_as_it_was_written(keys: list[str]) -> None:
    root = fromstring(request_document(keys))
    assert root.tag == "{http://s3.amazonaws.com/doc/2006-03-01/}Delete"
    assert ["".join(entry.itertext()) for entry in root] == keys


MIXED = f"""\
<DeleteResult {XMLNS}><Deleted><DeleteMarker>true</DeleteMarker><Key>a</Key></Deleted>\
<Error><Code>SlowDown</Code><Message>later</Message><Key>b</Key></Error></DeleteResult>"""
SPACED = """\
<?xml version="1.0" encoding="UTF-8"?>
<DeleteResult>
  <Deleted>
    <VersionId>null</VersionId><Key>a&amp;b</Key>
  </Deleted>
</DeleteResult>"""
ENTITY = b"""\
<!DOCTYPE d [<!ENTITY k "a">]><DeleteResult><Deleted><Key>&k;</Key></Deleted></DeleteResult>"""


@pytest.mark.parametrize(
    "body",
    [
        f"<DeleteResult {XMLNS}><Deleted><Key>a</Key></Deleted></DeleteResult>",
        f"<DeleteResult {XMLNS}/>",
        "<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code></Error></DeleteResult>",
        MIXED,
        SPACED,
    ],
)
def test_answers_are_read_as_botocore_reads_them(body: str) -> None:
    answer = {"status_code": 200, "headers": {}, "body": body.encode()}
    theirs = THEIRS.parse(answer, OPERATION.output_shape)
    assert fates(body.encode()) == {
        **{entry["Key"]: None for entry in theirs.get("Deleted", [])},
        **{entry["Key"]: entry["Code"] for entry in theirs.get("Errors", [])},
    }


@pytest.mark.parametrize("first", ["deleted", "refused"])
def test_a_key_that_is_named_both_ways_is_not_deleted(first: str) -> None:
    both = ["<Deleted><Key>a</Key></Deleted>", "<Error><Key>a</Key><Code>Busy</Code></Error>"]
    if first == "refused":
        both.reverse()
    assert fates(f"<DeleteResult>{''.join(both)}</DeleteResult>".encode()) == {"a": "Busy"}


def test_an_error_without_a_code_is_an_error() -> None:
    body = b"<DeleteResult><Error><Key>a</Key></Error></DeleteResult>"
    assert fates(body) == {"a": "unknown"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<DeleteResult>",
        b"<DeleteResult><Deleted><Key>a</Key></Deleted>",  # cut short
        b"<ListBucketResult><Deleted><Key>a</Key></Deleted></ListBucketResult>",
        b"<DeleteResult><Deleted/></DeleteResult>",
        b"<DeleteResult><Error><Code>SlowDown</Code></Error></DeleteResult>",
        b"<DeleteResult><Deleted><Key>\xff</Key></Deleted></DeleteResult>",
        ENTITY,
    ],
)
def test_what_is_no_whole_result_decides_no_key(body: bytes) -> None:
    with pytest.raises(ChunkStoreUnavailable):
        fates(body)


def test_an_error_that_comes_as_a_success_is_an_error() -> None:
    with pytest.raises(ChunkStoreUnavailable, match="200 InternalError to delete_many"):
        fates(b"<Error><Code>InternalError</Code></Error>")
    with pytest.raises(StorageFull):
        fates(b"<Error><Code>XMinioStorageFull</Code></Error>")
