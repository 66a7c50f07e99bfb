"""No exception of botocore or aiohttp, and no error answer of S3, passes the door as it is."""

import inspect
from collections.abc import Iterator

import aiohttp
import aiohttp.client_exceptions
import botocore.exceptions
import botocore.parsers
import pytest
from botocore.exceptions import ClientError

from mediastore.chunkstore.s3_translation import Refusal, translated
from mediastore.errors import ChunkStoreUnavailable, StorageFull

# Warnings, errors in botocore's own service descriptions, and web sockets'.
NOT_OF_A_CALL = {
    "ImminentRemovalWarning",
    "UnsupportedTLSVersionWarning",
    "MissingServiceIdError",
    "UndefinedModelAttributeError",
    "WSMessageTypeError",
}


def exception_classes() -> Iterator[type[Exception]]:
    for module in (botocore.exceptions, aiohttp.client_exceptions, botocore.parsers):
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if not issubclass(kind, Exception) or kind.__module__ != module.__name__:
                continue
            if name not in NOT_OF_A_CALL:
                yield kind
    yield from (ConnectionResetError, BrokenPipeError, TimeoutError, OSError)


@pytest.mark.parametrize("kind", list(exception_classes()), ids=lambda kind: kind.__name__)
def test_every_exception_is_translated(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    if isinstance(error, ClientError):
        error = ClientError({"Error": {"Code": "InternalError"}}, "PutObject")
    with pytest.raises(ChunkStoreUnavailable) as raised, translated("put"):
        raise error
    assert raised.value.__cause__ is error


def test_what_is_ours_or_a_bug_passes() -> None:
    for error in (StorageFull(), ChunkStoreUnavailable("as it was"), ValueError(), KeyError()):
        with pytest.raises(type(error)) as raised, translated("put"):
            raise error
        assert raised.value is error


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (500, "InternalError", ChunkStoreUnavailable),
        (503, "SlowDown", ChunkStoreUnavailable),
        (503, "ServiceUnavailable", ChunkStoreUnavailable),
        (403, "AccessDenied", ChunkStoreUnavailable),
        (403, "RequestTimeTooSkewed", ChunkStoreUnavailable),
        (404, "NoSuchBucket", ChunkStoreUnavailable),
        (400, "BadDigest", ChunkStoreUnavailable),
        (400, "XAmzContentChecksumMismatch", ChunkStoreUnavailable),
        (301, "PermanentRedirect", ChunkStoreUnavailable),
        (0, "", ChunkStoreUnavailable),
        (507, "XMinioStorageFull", StorageFull),
        (507, "", StorageFull),
        (403, "QuotaExceeded", StorageFull),
        (400, "XMinioAdminBucketQuotaExceeded", StorageFull),
    ],
)
def test_error_answers(status: int, code: str, kind: type[Exception]) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Key>secret/key</Key></Error>".encode()
    direct = Refusal.of(status, body)
    through_botocore = Refusal.of_client_error(
        ClientError(
            {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject"
        )
    )
    assert direct == through_botocore
    error = direct.error("put")
    assert type(error) is kind
    assert "secret" not in str(error)
    assert not direct.names_missing_key
    assert not direct.names_failed_condition


def test_only_a_missing_key_is_one() -> None:
    assert Refusal(404, "NoSuchKey").names_missing_key
    for other in (Refusal(404, "NoSuchBucket"), Refusal(404, ""), Refusal(500, "NoSuchKey")):
        assert not other.names_missing_key


def test_only_a_failed_condition_is_one() -> None:
    assert Refusal(412, "PreconditionFailed").names_failed_condition
    assert Refusal(409, "ConditionalRequestConflict").names_failed_condition
    for other in (Refusal(409, "OperationAborted"), Refusal(404, "NoSuchKey")):
        assert not other.names_failed_condition


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"\xff\xfe", b"<Code></Code>"])
def test_an_answer_that_is_not_s3s_has_no_code(body: bytes) -> None:
    assert Refusal.of(502, body) == Refusal(502, "")
