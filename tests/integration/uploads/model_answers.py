"""What the server has answered beside what the model expects. Any difference is a Disagreement."""

from itertools import pairwise

from tests.ietf_client import Answer, id_of
from tests.integration.uploads.tus_model import Expected, Request


class Disagreement(AssertionError):
    """Server and model say different things of one request."""


def agree(told: object, expected: object, request: Request) -> None:
    if told != expected:
        raise Disagreement(f"{request}: {told}, not {expected}")


def compare(answer: Answer, expected: Expected, request: Request, url: str, before: int) -> str:
    """The id of the upload that was asked for or made. `before`: the upload's offset until then."""
    named = [i.headers["Location"] for i in answer.interim if "Location" in i.headers]
    made = id_of((named or [answer.headers.get("Location", url)])[0])
    agree(len(named), int(expected.announced), request)
    told = {name: answer.headers.get(name) for name in expected.headers}
    said = {name: text and text.format(id=made) for name, text in expected.headers.items()}
    limit = told.get("Upload-Limit")
    if limit is not None:  # some of it is time, which the model does not know
        told["Upload-Limit"] = limit.partition("=")[0]
    agree((answer.status, told), (expected.status, said), request)
    if expected.code is not None and request.method != "HEAD":
        agree(answer.json()["code"], expected.code, request)
    _check_progress(answer, request, before)
    return made


def _check_progress(answer: Answer, request: Request, before: int) -> None:
    """104s tell offsets that rise over what the request brings. The model does not know batches."""
    offsets = [
        int(i.headers["Upload-Offset"]) for i in answer.interim if "Upload-Offset" in i.headers
    ]
    rising = all(earlier < later for earlier, later in pairwise([before, *offsets]))
    agree(
        (rising, max(offsets, default=before) <= before + len(request.body)), (True, True), request
    )
