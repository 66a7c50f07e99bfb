"""What clients are told of an error, and what is only for the log."""

import json

import pytest

from mediastore.errors import (
    BadLength,
    CatalogUnavailable,
    MediastoreError,
    OffsetMismatch,
    Overloaded,
    Unauthorized,
    every_error,
)
from mediastore.problems import problem_document, problem_response


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_has_the_one_shape(kind: type[MediastoreError]) -> None:
    response = problem_response(kind())
    assert isinstance(response.body, bytes)
    document = json.loads(response.body)
    assert document["code"] == kind.code
    assert document["status"] == response.status == kind.status
    assert document["title"] == kind.message()
    assert document["type"] == (kind.type_uri or f"urn:mediastore:error:{kind.code}")
    assert response.content_type == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"


def test_the_callers_fault_is_told_in_detail() -> None:
    assert problem_document(BadLength("Upload-Length is 'x'"))["detail"] == "Upload-Length is 'x'"
    assert problem_document(OffsetMismatch(offset=7))["offset"] == 7


@pytest.mark.parametrize("kind", [CatalogUnavailable, MediastoreError])
def test_a_parts_own_words_stay_in_the_log(kind: type[MediastoreError]) -> None:
    document = problem_document(kind("cannot connect to 10.1.2.3 as admin"))
    assert "10.1.2.3" not in json.dumps(document)
    assert document["detail"] == kind.message()


def test_headers_that_go_with_an_error() -> None:
    assert problem_response(Overloaded()).headers["Retry-After"] == "2"
    assert problem_response(Unauthorized()).headers["WWW-Authenticate"].startswith("Bearer")
