"""Users of a soak: each uploads, reads, deletes and restores at random and knows what is there.

Contents come from a small pool as often as not, so that what one user deletes another uploads. A
user goes on until its request is answered, as clients do; `patient` ones put up with connections
that break and with 503 and 507, the others with nothing. Any other answer than the right one is a
failure: a 404 or 410 for what was acknowledged, a 500, wrong bytes.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.acceptance.client import Answer, Client, Unreachable, id_of
from tests.acceptance.content import content
from tests.acceptance.test_forms import form

SIZE_MAX = 300_000
POOL = 24
KEPT_ENOUGH = 30
ATTEMPTS_MAX = 2000
PAUSE_SECONDS = 0.05
PUT_UP_WITH = (429, 503, 507)
ASK_AGAIN = ("idempotency_key_in_use", "upload_finishing")


@dataclass(slots=True)
class Tally:
    """What all users have done so far, and whether they go on."""

    counts: Counter[str] = field(default_factory=Counter)
    is_over: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def count(self, what: str) -> None:
        with self._changed:
            self.counts[what] += 1
            self._changed.notify_all()

    def wait_for_requests(self, more: int, seconds_max: float) -> None:
        """Until so many more requests were made; where nobody is answered, not for ever."""
        with self._changed:
            enough = self.counts["requests"] + more
            self._changed.wait_for(lambda: self.counts["requests"] >= enough, seconds_max)


@dataclass(slots=True)
class User:
    """`kept`: every object that it was told of and has not deleted, by id, and what is in it."""

    number: int
    replicas: Sequence[Client]
    random: Random
    tally: Tally
    patient: bool
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.tally.is_over:
                self._operate()
        except BaseException as error:  # noqa: BLE001  (the test's own thread raises it)
            self.failure = error

    def check_kept(self) -> None:
        """Everything, through any replica."""
        for id_ in self.kept:
            self._read(id_)

    def delete_kept(self) -> None:
        for id_ in list(self.kept):
            self._delete(id_)

    def _operate(self) -> None:
        steps: list[Callable[[], None]] = [self._post, self._resume, self._send_form]
        weights = [3, 2, 1]
        if self.kept:
            steps += [self._read_some, self._delete_some, self._delete_and_restore]
            weights += [5, 12 if len(self.kept) > KEPT_ENOUGH else 3, 1]
        (step,) = self.random.choices(steps, weights)
        step()
        self.tally.count(step.__name__.strip("_"))

    # Uploads

    def _post(self) -> None:
        seed, size = self._some_content()
        headers = {"Idempotency_Key": f"{self.number}-{self.random.getrandbits(60)}"}
        answer = self._ask(lambda client: client.post(content(size, seed), **headers), 200, 201)
        self.kept[answer.json()["id"]] = (seed, size)

    def _send_form(self) -> None:
        files = [self._some_content() for _ in range(self.random.randint(2, 6))]
        files = [(seed, size // 10) for seed, size in files]
        body = form([content(size, seed) for seed, size in files], "b")
        headers = {
            "Content_Type": "multipart/form-data; boundary=b",
            "Idempotency_Key": f"{self.number}-{self.random.getrandbits(60)}",
        }
        answer = self._ask(lambda client: client.post(body, **headers), 201)
        for item, made in zip(answer.json()["results"], files, strict=True):
            self.kept[item["object"]["id"]] = made

    def _resume(self) -> None:
        """By tus, in pieces, through any replica; what was acknowledged stays so."""
        seed, size = self._some_content()
        upload = self._ask(
            lambda client: client.request(
                "POST",
                "/v1/uploads",
                headers={"Tus-Resumable": "1.0.0", "Upload-Length": str(size)},
            ),
            201,
        ).headers["location"]
        offset = 0
        while offset < size:
            piece = content(min(self.random.randint(1, 150_000), size - offset), seed, offset)
            told = self._patch(upload, offset, piece)
            if told is None:
                told = self._ask(lambda client: client.head(upload), 200).offset
            assert told >= offset, "an acknowledged byte was lost"
            offset = told
        id_ = id_of(upload)
        self._ask(lambda client: client.get(f"/v1/objects/{id_}"), 200)
        self.kept[id_] = (seed, size)

    def _patch(self, upload: str, offset: int, piece: bytes) -> int | None:
        """The new offset; None: it has to be asked for."""
        self.tally.count("requests")
        try:
            answer = self._replica().patch(upload, offset, piece)
        except Unreachable:
            if not self.patient:
                raise
            return None
        if answer.status == 204:
            return answer.offset
        # A request that was cut off may still commit behind the next one's HEAD, or take over.
        if self.patient and (answer.status in PUT_UP_WITH or answer.status == 409):
            return None
        raise AssertionError(f"PATCH {upload} at {offset}: {answer}")

    # Objects

    def _read_some(self) -> None:
        self._read(self.random.choice(list(self.kept)))

    def _read(self, id_: str) -> None:
        seed, size = self.kept[id_]
        path = f"/v1/objects/{id_}/content"
        if size == 0 or self.random.random() < 0.5:
            answer = self._ask(lambda client: client.get(path), 200)
            assert answer.body == content(size, seed), f"{id_} has other bytes"
            return
        start = self.random.randrange(size)
        end = self.random.randrange(start, size)
        answer = self._ask(lambda client: client.get(path, Range=f"bytes={start}-{end}"), 206)
        assert answer.body == content(end + 1 - start, seed, start), f"{id_} has other bytes"

    def _delete_some(self) -> None:
        self._delete(self.random.choice(list(self.kept)))

    def _delete(self, id_: str) -> None:
        """An attempt whose answer was lost may have done it, and a collector its part since."""
        del self.kept[id_]
        path = f"/v1/objects/{id_}"
        answer, attempts = self._asked(lambda client: client.delete(path), 200, 404)
        assert attempts > 1 or answer.status == 200, f"{id_} was gone before it was deleted"

    def _delete_and_restore(self) -> None:
        """Collectors leave no time to think it over: it is either back whole, or gone."""
        id_ = self.random.choice(list(self.kept))
        made = self.kept[id_]
        self._delete(id_)
        path = f"/v1/objects/{id_}"
        answers = (200, 404, 409, 410)
        self._ask(lambda client: client.request("POST", f"{path}/restore"), *answers)
        answer = self._ask(lambda client: client.get(path), 200, 404)
        if answer.status == 200 and answer.json()["deleted_at"] is None:
            self.kept[id_] = made

    # Requests

    def _ask(self, request: Callable[[Client], Answer], *good: int) -> Answer:
        return self._asked(request, *good)[0]

    def _asked(self, request: Callable[[Client], Answer], *good: int) -> tuple[Answer, int]:
        """The first answer with a good status, and the attempts it took."""
        last: Any = None
        for attempt in range(1, ATTEMPTS_MAX):
            self.tally.count("requests")
            try:
                last = request(self._replica())
            except Unreachable as error:
                if not self.patient:
                    raise
                last = error
            else:
                if last.status in good:
                    return last, attempt
                if not self._puts_up_with(last):
                    raise AssertionError(f"{last.status} instead of {good}: {last.body[:500]!r}")
            self.tally.count("refused")
            threading.Event().wait(PAUSE_SECONDS)
        raise AssertionError(f"it was never answered: {last}")

    def _puts_up_with(self, answer: Answer) -> bool:
        if answer.status == 409:
            return answer.code in ASK_AGAIN
        if not self.patient:
            return False
        if answer.status == 207:
            statuses = {item["status"] for item in answer.json()["results"]}
            return statuses <= {200, 201, 409, *PUT_UP_WITH}
        return answer.status in PUT_UP_WITH

    def _replica(self) -> Client:
        return self.random.choice(self.replicas)

    def _some_content(self) -> tuple[int, int]:
        """A seed and a size: of the pool that all share, or new."""
        if self.random.random() < 0.5:
            seed = self.random.randrange(POOL)
            return seed, Random(seed).randint(0, SIZE_MAX)
        return self.random.getrandbits(40) + POOL, self.random.randint(0, SIZE_MAX)


def run_users(users: Sequence[User]) -> list[threading.Thread]:
    threads = [threading.Thread(target=user.run) for user in users]
    for thread in threads:
        thread.start()
    return threads
