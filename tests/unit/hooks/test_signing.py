"""Signatures as Standard Webhooks computes them."""

from datetime import UTC, datetime

from mediastore.catalog.tenants import new_webhook_secret
from mediastore.hooks.signing import signed_headers
from tests.receiver import Message

BODY = b'{"event_type":"ping","data":{"success":true}}'
MOMENT = datetime.fromtimestamp(1731705121, UTC)


def test_the_specification_s_own_example() -> None:
    assert signed_headers(
        ["whsec_plJ3nmyCDGBKInavdOK15jsl"], "msg_loFOjxBNrRLzqYUf", MOMENT, BODY
    ) == {
        "webhook-id": "msg_loFOjxBNrRLzqYUf",
        "webhook-timestamp": "1731705121",
        "webhook-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    }


def test_each_secret_signs() -> None:
    new, old, other = new_webhook_secret(), new_webhook_secret(), new_webhook_secret()
    message = Message(signed_headers([new, old], "m", MOMENT, BODY), BODY)
    assert message.signed_with(new)
    assert message.signed_with(old)
    assert not message.signed_with(other)
    assert not Message(message.headers, BODY + b" ").signed_with(new)
