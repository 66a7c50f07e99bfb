"""Ways to break the service that clients would notice: test_model_power.py does each to a copy.

Each is a few edits of source that take a rule away. An edit that fits no more, because the code has
changed, is to be written anew: then the test says so.
"""

from dataclasses import dataclass

UPLOADS = "mediastore/uploads"
MIGRATIONS = "mediastore/catalog/migrations"
TAKE = f"{MIGRATIONS}/0009_pre_takeover_and_tokens.sql"
STEPS = f"{MIGRATIONS}/0002_pre_upload_functions.sql"
STAGED = f"{MIGRATIONS}/0006_pre_staged_batches_and_digests.sql"
TUS, IETF = "test_tus_model.py", "test_ietf_model.py"


@dataclass(frozen=True, slots=True)
class Edit:
    """`old`, which is in `file` once, becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Breakage:
    """A rule that is gone, and the model that must notice."""

    model: str
    rule: str
    edits: tuple[Edit, ...]

    def __str__(self) -> str:
        return f"{self.model.split('_')[1]}: {self.rule}"


def never(file: str, condition: str) -> Edit:
    """An `if` whose condition holds no more."""
    sql = file.endswith(".sql")
    old, new = (
        (f"IF {condition} THEN", "IF false THEN") if sql else (f"if {condition}:", "if False:")
    )
    return Edit(file, old, new)


OFFSET_UNCHECKED = (
    never(TAKE, 'p_expected_offset IS NOT NULL AND v_upload."offset" <> p_expected_offset'),
)
EPOCH_UNCHECKED = (never(STEPS, "v_upload.epoch <> p_epoch"),)
LENGTH_MAY_CHANGE = (
    Edit(STAGED, "v_upload.length <> p_length OR p_length < p_offset", "p_length < p_offset"),
)
LENGTH_MAY_BE_PASSED = (
    never(f"{UPLOADS}/bounds.py", "self.length is not None and received > self.length"),
    Edit(STEPS, "v_total IS NULL OR p_offset + v_total > v_upload.length", "v_total IS NULL"),
    Edit(STAGED, "v_total IS NULL OR p_start + v_total > v_upload.length", "v_total IS NULL"),
)
BODY_DIGEST_UNCHECKED = (
    never(f"{UPLOADS}/body_check.py", "self.digester.digests() != self._expected"),
)
CONTENT_DIGEST_UNCHECKED = (
    never(f"{UPLOADS}/hashing.py", "digests != declared"),
    Edit(STAGED, "WHERE u.id = p_upload AND NOT EXISTS (", "WHERE false AND NOT EXISTS ("),
)
CANCELLED_STAYS = (
    Edit(
        f"{UPLOADS}/service.py",
        "dropped_bytes = await terminate_upload(self.parts.catalog, tenant, id_, told=True)",
        "dropped_bytes = (seen := await get_upload(self.parts.catalog, tenant, id_))"
        " and seen.offset",
    ),
)

BREAKAGES = [
    Breakage(TUS, "an append has the upload's offset", OFFSET_UNCHECKED),
    Breakage(TUS, "a newer request ends an older one", EPOCH_UNCHECKED),
    Breakage(
        TUS,
        "a length is declared once",
        (
            *LENGTH_MAY_CHANGE,
            never(
                f"{UPLOADS}/tus/resource.py",
                "length is not None and "
                "(length < upload.offset or upload.length not in (None, length))",
            ),
            Edit(
                f"{UPLOADS}/tus/resource.py",
                "if length is not None and upload.length is None:",
                "if length is not None:",
            ),
        ),
    ),
    Breakage(
        TUS,
        "nothing goes past the length",
        (
            *LENGTH_MAY_BE_PASSED,
            never(
                f"{UPLOADS}/tus/fields.py",
                "coming is not None and length is not None and offset + coming > length",
            ),
        ),
    ),
    Breakage(TUS, "a body has its checksum", BODY_DIGEST_UNCHECKED),
    Breakage(TUS, "the content has its digest", CONTENT_DIGEST_UNCHECKED),
    Breakage(
        TUS,
        "HEAD tells the offset as it is",
        (
            Edit(
                f"{UPLOADS}/tus/answers.py",
                "    headers = offset_headers(standing)\n",
                "    headers = offset_headers(standing)\n"
                '    headers["Upload-Offset"] = str(standing.offset // 1024 * 1024)\n',
            ),
        ),
    ),
    Breakage(TUS, "a cancelled upload is gone", CANCELLED_STAYS),
    Breakage(
        TUS,
        "an expired upload is gone",
        (
            Edit(
                TAKE,
                "IF NOT FOUND OR v_upload.expires_at <= catalog_clock() THEN",
                "IF NOT FOUND THEN",
            ),
        ),
    ),
    Breakage(
        TUS,
        "a length that was not told is not guessed",
        (
            Edit(
                f"{UPLOADS}/tus/resource.py",
                "append(upload, request.content, body_digests=checksum)",
                "append(upload, request.content, body_digests=checksum, ends_with_body=True)",
            ),
        ),
    ),
    Breakage(
        TUS,
        "the last request can be repeated",
        (
            Edit(
                f"{UPLOADS}/tus/resource.py",
                "    if offset != standing.offset:\n",
                "    if standing.object is not None or offset != standing.offset:\n",
            ),
        ),
    ),
    Breakage(IETF, "an append has the upload's offset", OFFSET_UNCHECKED),
    Breakage(IETF, "a newer request ends an older one", EPOCH_UNCHECKED),
    Breakage(
        IETF,
        "only Upload-Complete completes an upload",
        (
            Edit(
                "mediastore/catalog/uploads.py",
                'ENDED_BY_A_FLAG = frozenset({"ietf"})',
                "ENDED_BY_A_FLAG: frozenset[str] = frozenset()",
            ),
        ),
    ),
    Breakage(
        IETF,
        "a length is declared once",
        (*LENGTH_MAY_CHANGE, never(f"{UPLOADS}/ietf/resource.py", "known is not None")),
    ),
    Breakage(
        IETF,
        "nothing goes past the length",
        (
            *LENGTH_MAY_BE_PASSED,
            never(
                f"{UPLOADS}/ietf/resource.py",
                "ends is not None and known is not None and ends > known",
            ),
        ),
    ),
    Breakage(
        IETF,
        "a 104 tells the offset as it is",
        (
            Edit(
                f"{UPLOADS}/ietf/notices.py",
                '"Upload-Offset": str(offset)',
                '"Upload-Offset": str(offset + 1)',
            ),
        ),
    ),
    Breakage(IETF, "a body has its digest", BODY_DIGEST_UNCHECKED),
    Breakage(IETF, "the content has its digest", CONTENT_DIGEST_UNCHECKED),
    Breakage(
        IETF,
        "one request brings no more than max-append-size",
        (
            Edit(
                f"{UPLOADS}/ietf/limits.py",
                "append_max=settings.append_size_max_bytes",
                "append_max=None",
            ),
        ),
    ),
    Breakage(
        IETF,
        "HEAD tells the offset as it is",
        (
            Edit(
                f"{UPLOADS}/ietf/answers.py",
                '"Upload-Offset": str(standing.offset)',
                '"Upload-Offset": str(standing.offset // 1024 * 1024)',
            ),
        ),
    ),
    Breakage(IETF, "a cancelled upload is gone", CANCELLED_STAYS),
]
