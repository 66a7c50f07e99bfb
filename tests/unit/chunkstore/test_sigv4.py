"""Our signature is botocore's, for every request that we make."""

from datetime import UTC, datetime
from unittest.mock import patch

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from mediastore.chunkstore.sigv4 import UNSIGNED_PAYLOAD, Credentials, Signer

WORD = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789/+", min_size=1, max_size=30)
PATH = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_./~", max_size=60)
VALUE = st.text('abcdefghijklmnopqrstuvwxyz0123456789=+/"*-', min_size=1, max_size=20)
HEADERS = st.dictionaries(
    st.sampled_from(["if-match", "if-none-match", "x-amz-checksum-crc32", "range"]), VALUE
)
MOMENT = st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
SIGNER = Signer("eu-west-3")  # one for all examples: the derived key must follow day and secret


@given(
    method=st.sampled_from(["GET", "PUT", "HEAD", "POST"]),
    path=PATH.map(lambda path: f"/bucket/{path}"),
    subresource=st.sampled_from(["", "delete"]),
    headers=HEADERS,
    access_key=WORD,
    secret_key=st.sampled_from(["one", "another/secret+key"]),
    token=st.none() | WORD,
    now=MOMENT,
)
def test_as_botocore_signs(
    method: str,
    path: str,
    subresource: str,
    headers: dict[str, str],
    access_key: str,
    secret_key: str,
    token: str | None,
    now: datetime,
) -> None:
    url = f"http://host.example:9000{path}{'?' if subresource else ''}{subresource}"
    request = AWSRequest(method=method, url=url, headers=dict(headers), data=b"")
    request.context["client_config"] = type("C", (), {"s3": {"payload_signing_enabled": False}})
    with patch("botocore.auth.get_current_datetime", return_value=now):
        S3SigV4Auth(BotocoreCredentials(access_key, secret_key, token), "s3", "eu-west-3").add_auth(
            request
        )
    signed = SIGNER.sign(
        method,
        path,
        {"host": "host.example:9000", **headers},
        subresource=subresource,
        payload=UNSIGNED_PAYLOAD,
        credentials=Credentials(access_key, secret_key, token),
        now=now,
    )
    theirs = {name.lower(): value for name, value in request.headers.items()}
    assert signed == {**theirs, "host": "host.example:9000"}


def test_credentials_do_not_show_their_secret() -> None:
    assert "hush" not in repr(Credentials("key", "hush", "hush-too"))
