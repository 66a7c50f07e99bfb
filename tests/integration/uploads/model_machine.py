"""Random requests of several clients through two replicas, beside a model of the protocol: each
answer is compared with the model's, finished content byte for byte.

`TusClients` speaks tus. A machine for another protocol inherits its rules, so that both meet on the
same uploads.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import asyncpg
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.faults import Fault
from tests.ietf_client import Answer, IetfClient
from tests.integration.uploads.conftest import Service, Starter
from tests.integration.uploads.model_answers import Disagreement, agree, compare
from tests.integration.uploads.test_tus import content, stored
from tests.integration.uploads.tus_model import (
    MAX_SIZE,
    TYPE,
    UNKNOWN,
    Model,
    ModelUpload,
    Request,
    checksum,
    metadata,
)
from tests.recount_exact import assert_references_exact

Result = TypeVar("Result")
# The same few sequences each time; $MEDIASTORE_MODEL_EXAMPLES runs as many others, at random, and
# makes a failing one small, which takes minutes.
EXAMPLES = int(os.environ.get("MEDIASTORE_MODEL_EXAMPLES", "0"))
EXAMPLES_ALWAYS = 15  # for the answers of one protocol
STEPS = 30
# Around the smallest and largest chunk, and more than a batch.
SIZES = st.sampled_from([0, 1, 700, 1023, 1024, 8193, 70_000])
LENGTHS = st.sampled_from([0, 1, 1023, 1024, 2047, 8193, 71_023, 150_000])
MISTAKES = st.sampled_from([None] * 40 + ["version", "type", "offset", "length", "checksum"])
OVERTAKEN_BYTES = 700  # one chunk, whatever it is
CHECKS = st.sampled_from([None, None, None, "right", "right", "right", "wrong"])


@dataclass(frozen=True, slots=True)
class World:
    """Two replicas on one database and one store, in the loop that serves them."""

    replicas: tuple[Service, Service]
    sql: asyncpg.Connection
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)


async def two_replicas(start: Starter, sql: asyncpg.Connection, **uploads: int) -> World:
    """`uploads`: settings of both. Nobody waits for a request that is held up: it is overtaken."""
    few = {"batch_max_bytes": 64 * 1024, "size_max_bytes": MAX_SIZE, "hand_over_wait_seconds": 0}
    few |= uploads
    first = await start(uploads=few)
    second = await start(first.kept, uploads=few)
    return World((first, second), sql, asyncio.get_running_loop())


class TusClients(RuleBasedStateMachine):
    """Rules make requests; `_send` compares the answer with the model's."""

    world: ClassVar[World]
    answered: ClassVar[Counter[tuple[str, int]]]
    digests_known: ClassVar[set[bytes]]

    def __init__(self) -> None:
        super().__init__()
        self.model = self._model()
        self.urls: list[str] = []
        self.last: Request | None = None
        self.overtaken = 0

    @rule(
        replica=st.booleans(),
        length=LENGTHS | st.none(),
        size=SIZES | st.just(0),
        check=CHECKS,
        digest=st.sampled_from([None, None, None, "right", "right", "wrong"]),
        said=st.sampled_from([None] * 20 + ["version", "type", "length", "both", "metadata"]),
    )
    def create(
        self,
        replica: bool,
        length: int | None,
        size: int,
        check: str | None,
        digest: str | None,
        said: str | None,
    ) -> None:
        """The content of every upload begins alike, so that what is declared can be right."""
        body = content(200_000)[:size]
        headers = {"Tus-Resumable": "1.0.0", "Content-Type": TYPE}
        if length is None:
            headers["Upload-Defer-Length"] = "1"
        else:
            headers["Upload-Length"] = str(length)
        self.model.declared = None
        if digest is not None:
            whole = content(200_000)[: length or 0] if digest == "right" else b"other"
            self.model.declared = sha256(whole).digest()
        headers["Upload-Metadata"] = metadata(self.model.declared)
        if check is not None:
            headers["Upload-Checksum"] = checksum(body if check == "right" else b"other")
        match said:
            case "version":
                del headers["Tus-Resumable"]
            case "type":
                headers["Content-Type"] = "text/plain"
            case "length":
                headers["Upload-Length"] = "-1"
                headers.pop("Upload-Defer-Length", None)
            case "both":
                headers["Upload-Defer-Length"] = "1"
                headers["Upload-Length"] = "5"
            case "metadata":
                headers["Upload-Metadata"] = "kind !"
        self._send(Request("POST", None, headers, body), replica)

    @rule(
        replica=st.booleans(),
        which=st.integers(0, 9),
        size=SIZES,
        ends=st.booleans(),
        shift=st.sampled_from([0] * 12 + [1, -1]),
        check=CHECKS,
        length=st.sampled_from([None, None, None, "known", "end", "end", "more", "less"]),
        mistake=MISTAKES,
    )
    def patch(
        self,
        replica: bool,
        which: int,
        size: int,
        ends: bool,
        shift: int,
        check: str | None,
        length: str | None,
        mistake: str | None,
    ) -> None:
        target = self._target(which)
        upload = None if target is None else self.model.uploads[target]
        at = 0 if upload is None else upload.offset
        if ends and upload is not None:
            size = 0 if upload.length is None else upload.length - at
            length = "end"
        body = content(200_000)[at : at + size]
        headers = {
            "Tus-Resumable": "1.0.0",
            "Content-Type": TYPE,
            "Upload-Offset": str(max(0, at + shift)),
        }
        lengths = {"end": at + size, "more": at + size + 9, "less": max(0, at + size - 9)}
        if upload is not None and upload.length is not None:
            lengths["known"] = upload.length
        if length in lengths:
            headers["Upload-Length"] = str(lengths[length])
        if check is not None:
            headers["Upload-Checksum"] = checksum(body if check == "right" else b"other")
        match mistake:
            case "version":
                headers["Tus-Resumable"] = "0.2.2"
            case "type":
                headers["Content-Type"] = "text/plain"
            case "offset":
                headers["Upload-Offset"] = "0x1"
            case "length":
                headers["Upload-Length"] = str(MAX_SIZE + 1)
            case "checksum":
                headers["Upload-Checksum"] = "sha1 !"
        self._send(Request("PATCH", target, headers, body), replica)

    @rule(
        replica=st.booleans(),
        which=st.integers(0, 9),
        how=st.sampled_from(["ask", "ask", "again", "again", "again", "delete", "expire"]),
    )
    def look(self, replica: bool, which: int, how: str) -> None:
        """HEAD; the last request again, as if its answer had been lost; now and then the end."""
        target = self._target(which)
        if how == "again" and self.last is not None:
            self._send(self.last, replica)
        elif how == "delete":
            for method in ("DELETE", "HEAD"):
                self._send(Request(method, target, {"Tus-Resumable": "1.0.0"}), replica)
        elif how == "expire" and target is not None:
            self._expire(target)
        else:
            self._send(Request("HEAD", target, {"Tus-Resumable": "1.0.0"}), replica)

    @rule(replica=st.booleans(), other=st.booleans(), sends=st.booleans())
    def overtake(self, replica: bool, other: bool, sends: bool) -> None:
        """A request is held up while its bytes are put, and a newer one takes its upload: the older
        one is refused in the end, and nothing comes of it.
        """
        target = self._one_with_room()
        if target is None:
            return
        self.overtaken += 1
        headers = {
            "Tus-Resumable": "1.0.0",
            "Content-Type": TYPE,
            "Upload-Offset": str(self.model.uploads[target].offset),
        }
        unlike_any = content(OVERTAKEN_BYTES, 1000 + self.overtaken)
        older = Request("PATCH", target, headers, unlike_any)
        newer = Request("HEAD", target, {"Tus-Resumable": "1.0.0"})
        if sends:
            at = self.model.uploads[target].offset
            newer = replace(older, body=content(200_000)[at : at + OVERTAKEN_BYTES])
        service, gate = self.world.replicas[replica], asyncio.Event()
        held_up = self.world.run(self._begun(service, older, gate))
        self._send(newer, other)
        gate.set()
        answer = self.world.run(self._ended(held_up))
        agree((answer.status, answer.json()["code"]), (409, "upload_taken"), older)

    async def _begun(
        self, service: Service, request: Request, gate: asyncio.Event
    ) -> asyncio.Task[Answer]:
        """A request whose PUT has begun, and waits at the gate."""
        assert request.target is not None
        putting = Fault(gate=gate)
        service.store.script("put", putting)
        running = asyncio.create_task(self._answer(service, self.urls[request.target], request))
        reached = asyncio.create_task(putting.reached.wait())
        await asyncio.wait([running, reached], return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        if running.done():
            raise Disagreement(f"{request}: {running.result()} before its bytes were stored")
        return running

    async def _ended(self, running: asyncio.Task[Answer]) -> Answer:
        return await running

    def _one_with_room(self) -> int | None:
        """The latest upload that can take a few more bytes."""

        def has_room(upload: ModelUpload) -> bool:
            rest = None if upload.length is None else upload.length - upload.offset
            ended = upload.finished or upload.expired or upload.gone
            return not ended and (rest is None or rest >= OVERTAKEN_BYTES)

        found = [number for number, upload in enumerate(self.model.uploads) if has_room(upload)]
        return found[-1] if found else None

    def _expire(self, target: int) -> None:
        upload = self.model.uploads[target]
        upload.expired = not upload.finished
        past = "UPDATE uploads SET expires_at = now() - interval '1s' WHERE id = $1"
        self.world.run(self.world.sql.execute(past, UUID(self.urls[target].rpartition("/")[2])))

    def teardown(self) -> None:
        for upload, url in zip(self.model.uploads, self.urls, strict=True):
            if upload.finished:
                got = self.world.run(stored(self.world.replicas[0], url))
                if got != upload.content:
                    raise Disagreement(f"{url} has other bytes than were sent")
        self.world.run(assert_references_exact(self.world.sql))

    def _target(self, which: int) -> int | None:
        """One of the uploads, the latest more often; None, which is no upload, now and then."""
        if not self.urls or which == 9:
            return None
        return max(0, len(self.urls) - 1 - which // 3)

    @initialize()
    def begin(self) -> None:
        """One upload of each kind is there from the start."""
        for length in ({"Upload-Length": "9000"}, {"Upload-Defer-Length": "1"}):
            self._send(Request("POST", None, {"Tus-Resumable": "1.0.0", **length}), False)

    def _model(self) -> Model:
        return Model(self.digests_known)

    def _send(self, request: Request, replica: bool) -> None:
        service = self.world.replicas[replica]
        if request.method == "POST":
            url = "/v1/uploads"
        else:
            url = UNKNOWN if request.target is None else self.urls[request.target]
        self.last = request
        before = 0 if request.target is None else self.model.uploads[request.target].offset
        expected = self.model.expect(request)
        answer = self.world.run(self._answer(service, url + request.query, request))
        made = compare(answer, expected, request, url, before)
        self.answered[request.method, answer.status] += 1
        if expected.creates:
            self.urls.append(f"/v1/uploads/{made}")

    async def _answer(self, service: Service, url: str, request: Request) -> Answer:
        port = service.client.port
        assert port is not None
        connection = await IetfClient("127.0.0.1", port, service.key).connect()
        headers, body = {"Host": "x", **service.bearer, **request.headers}, request.body
        if request.chunked:
            headers["Transfer-Encoding"] = "chunked"
            body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
        elif request.method in ("POST", "PATCH"):
            headers["Content-Length"] = str(len(body))
        try:
            await connection.send(request.method, url, headers, body)
            return await connection.receive(head=request.method == "HEAD")
        finally:
            await connection.close()


def never_disagree(
    machine: type[TusClients],
    world: World,
    seen: set[tuple[str, int]],
    *,
    examples: int = EXAMPLES_ALWAYS,
) -> None:
    """Run it. A test in which little happens shows little: all answers in `seen` must have come."""
    machine.world = world
    machine.answered = Counter()
    machine.digests_known = set()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES or examples,
            derandomize=not EXAMPLES,
            phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
            database=None,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(machine.answered)
    missing = seen - set(machine.answered)
    assert not missing
