"""Random valid and invalid requests of clients of every version of the IETF draft, and of tus, to
the same uploads through two replicas, beside a model: server and model never disagree.
"""

import asyncpg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.ietf_client import WIRES
from tests.integration.uploads.conftest import Starter
from tests.integration.uploads.ietf_model import (
    APPEND_MAX,
    APPEND_MIN,
    MALFORMED,
    VERSION,
    IetfModel,
    digest,
)
from tests.integration.uploads.model_machine import (
    EXAMPLES_ALWAYS,
    LENGTHS,
    SIZES,
    TusClients,
    World,
    never_disagree,
    two_replicas,
)
from tests.integration.uploads.test_tus import content
from tests.integration.uploads.tus_model import MAX_SIZE, Model, Request

WHOLE = content(200_000)  # what every upload is the beginning of
VERSIONS = st.sampled_from([3, 5, 6, 8, None])
DIGESTS = st.sampled_from([None] * 8 + ["right"] * 4 + ["wrong", "malformed"])
SEEN = {
    *(("POST", status) for status in (201, 400, 413)),
    *(("PATCH", status) for status in (201, 204, 400, 404, 409, 413)),
    *(("HEAD", status) for status in (200, 204, 404)),
    ("GET", 204),
    ("DELETE", 204),
    ("DELETE", 409),
}


def digest_field(kind: str | None, body: bytes) -> str | None:
    return {"right": digest(body), "wrong": digest(b"other"), "malformed": MALFORMED}.get(
        kind or ""
    )


def said(
    version: int | None,
    complete: bool,
    wants: bool,
    mistake: str | None,
    fields: dict[str, str | None],
) -> dict[str, str]:
    """The headers of a creation or an append."""
    wire = WIRES[version]
    headers = {name: text for name, text in fields.items() if text is not None}
    headers |= {} if version is None else {VERSION: str(version)}
    headers |= wire.flag(complete)
    headers |= {"Want-Repr-Digest": "sha-256=1"} if wants else {}
    match mistake:
        case "version":
            headers[VERSION] = "2"
        case "flag":
            headers[wire.header] = "1"
        case "no flag":
            del headers[wire.header]
    return headers


class IetfClients(TusClients):
    """The rules of tus, and those of the draft. An empty body is never chunked: whether it is known
    to be empty when its request is read depends on when its last line came.
    """

    def _model(self) -> Model:
        return IetfModel(self.digests_known)

    @rule(
        replica=st.booleans(),
        version=VERSIONS,
        complete=st.booleans(),
        chunked=st.booleans(),
        size=SIZES,
        length=LENGTHS | st.none() | st.none() | st.just(MAX_SIZE + 1),
        digests=st.tuples(DIGESTS, DIGESTS),
        wants=st.booleans(),
        mistake=st.sampled_from([None] * 20 + ["version", "flag", "no flag"]),
    )
    def ietf_create(
        self,
        replica: bool,
        version: int | None,
        complete: bool,
        chunked: bool,
        size: int,
        length: int | None,
        digests: tuple[str | None, str | None],
        wants: bool,
        mistake: str | None,
    ) -> None:
        """Content to come is right if all of the declared length is WHOLE's."""
        if chunked and length is not None:
            size = min(size, APPEND_MAX)  # which limit is met first depends on the socket's pieces
        body = WHOLE[:size]
        all_of_it = body if complete and length is None else WHOLE[: min(length or 0, len(WHOLE))]
        fields = {
            "Content-Digest": digest_field(digests[0], body),
            "Repr-Digest": digest_field(digests[1], all_of_it),
            "Upload-Length": None if length is None else str(length),
        }
        headers = said(version, complete, wants, mistake, fields)
        self._send(Request("POST", None, headers, body, chunked and body != b""), replica)

    @rule(
        replica=st.booleans(),
        which=st.integers(0, 9),
        version=VERSIONS,
        complete=st.sampled_from([False, False, True]),
        chunked=st.booleans(),
        size=SIZES | st.just(APPEND_MIN),
        ends=st.sampled_from([None, None, "flag", "flag", "no flag"]),
        shift=st.sampled_from([0] * 12 + [1, -1]),
        length=st.sampled_from([None, None, None, "known", "end", "end", "more", "less"]),
        check=DIGESTS,
        wants=st.booleans(),
        mistake=st.sampled_from([None] * 40 + ["version", "flag", "no flag", "type", "offset"]),
    )
    def ietf_append(
        self,
        replica: bool,
        which: int,
        version: int | None,
        complete: bool,
        chunked: bool,
        size: int,
        ends: str | None,
        shift: int,
        length: str | None,
        check: str | None,
        wants: bool,
        mistake: str | None,
    ) -> None:
        target = self._target(which)
        upload = None if target is None else self.model.uploads[target]
        at = 0 if upload is None else upload.offset
        known = None if upload is None else upload.length
        if ends and known is not None:  # reaching the length is one thing, saying so another
            size = min(known - at, APPEND_MAX)
            complete, length = at + size == known and ends == "flag", "known"
        if chunked and (known is not None or length is not None):
            size = min(size, APPEND_MAX)
        body = WHOLE[at : at + size]
        end = at + len(body)
        told = {"known": known, "end": end, "more": end + 9, "less": max(0, end - 9)}.get(
            length or ""
        )
        fields = {
            "Content-Digest": digest_field(check, body),
            "Upload-Length": None if told is None else str(told),
            "Upload-Offset": "0x1" if mistake == "offset" else str(max(0, at + shift)),
            "Content-Type": "text/plain" if mistake == "type" else "application/partial-upload",
        }
        headers = said(version, complete, wants, mistake, fields)
        self._send(Request("PATCH", target, headers, body, chunked and body != b""), replica)

    @rule(
        replica=st.booleans(),
        which=st.integers(0, 9),
        version=VERSIONS,
        how=st.sampled_from(["HEAD", "GET", "peek", "again", "again", "DELETE", "DELETE"]),
        extra=st.sampled_from([None] * 6 + ["Upload-Offset", "Upload-Complete"]),
    )
    def ietf_look(
        self, replica: bool, which: int, version: int | None, how: str, extra: str | None
    ) -> None:
        target = self._target(which)
        headers = {} if version is None else {VERSION: str(version)}
        if how == "again":
            if self.last is not None:
                self._send(self.last, replica)
        elif how == "peek":
            self._send(Request("HEAD", target, headers, query="?peek"), replica)
        else:
            if extra is not None:
                headers[extra] = "?1" if extra == "Upload-Complete" else "3"
            self._send(Request(how, target, headers), replica)
            if how == "DELETE":
                self._send(Request("GET", target, headers), replica)

    @initialize()
    def begin_ietf(self) -> None:
        """One upload of each kind is there from the start, made "carefully"."""
        for length in ({}, {"Upload-Length": "9000"}):
            self._send(Request("POST", None, {"Upload-Complete": "?0", **length}), False)


@pytest.fixture
async def world(start: Starter, sql: asyncpg.Connection) -> World:
    return await two_replicas(
        start,
        sql,
        append_size_min_bytes=APPEND_MIN,
        append_size_max_bytes=APPEND_MAX,
        interim_interval_seconds=0,
    )


@pytest.mark.timeout(600)
def test_server_and_model_never_disagree(world: World) -> None:
    never_disagree(IetfClients, world, SEEN, examples=4 * EXAMPLES_ALWAYS)
