"""What the text fields of a form say of the files behind them.

`owner` and `metadata` hold for every file that follows, until they are given again; `name`,
`blake3` and `sha-256` for the next file alone. The request's query gives the first `owner` and
`metadata`. A field that no file follows, and one that is not known, is refused: nobody shall
believe it was heeded.
"""

from multidict import MultiDict, MultiMapping

from mediastore.errors import BadRequest, TooLarge
from mediastore.request_errors import BadForm
from mediastore.uploads.form_parts import FormPart
from mediastore.uploads.metadata import CONTENT_TYPE_DEFAULT, Description, from_query

FIELD_MIN_BYTES = 8 * 1024  # room for a name of the greatest length, in any script
_LASTING = frozenset({"owner", "metadata"})
_ONCE = frozenset({"name", "blake3", "sha-256"})
_PLAIN_ENCODINGS = frozenset({"binary", "8bit", "7bit"})


class FormFields:
    """The fields so far."""

    def __init__(self, query: MultiMapping[str], *, metadata_max_bytes: int) -> None:
        """Raises BadRequest for what the query of a form cannot say, BadMetadata."""
        for parameter in query:
            if parameter not in _LASTING:
                raise BadRequest(f"this URL takes owner and metadata of a form, not {parameter!r}")
        self._metadata_max_bytes = metadata_max_bytes
        self._lasting = dict(query)
        self._once: dict[str, str] = {}
        self._unused: str | None = None
        _ = self._described(self._lasting, CONTENT_TYPE_DEFAULT)

    async def read(self, part: FormPart) -> None:
        """Take a field in. Raises BadForm, TooLarge. A body that ends first is seen by the form."""
        name = part.field
        if name not in _LASTING | _ONCE:
            known = ", ".join(sorted(_LASTING | _ONCE))
            raise BadForm(f"a form takes files and the fields {known}, not {name!r}")
        if name in self._once:
            raise BadForm(f"{name!r} is given twice for one file")
        value = await self._value(part)
        (self._lasting if name in _LASTING else self._once)[name] = value
        self._unused = name

    def describe(self, part: FormPart) -> Description:
        """What is said of the file in `part`. Raises BadMetadata, BadForm."""
        values = {"name": part.filename or "", **self._lasting, **self._once}
        self.pass_over()
        if (part.transfer_encoding or "binary").strip().lower() not in _PLAIN_ENCODINGS:
            raise BadForm("a file is taken as it is: Content-Transfer-Encoding is not undone")
        return self._described(values, part.content_type)

    def pass_over(self) -> None:
        """A file has been where one was expected."""
        self._once = {}
        self._unused = None

    def check_used(self) -> None:
        """At the form's end. Raises BadForm."""
        if self._unused is not None:
            raise BadForm(f"the field {self._unused!r} must come before the file it is about")

    async def _value(self, part: FormPart) -> str:
        limit = max(self._metadata_max_bytes, FIELD_MIN_BYTES)
        value = bytearray()
        while (piece := await part.read()) is not None:
            value += piece
            if len(value) > limit:
                raise TooLarge(f"a field may have at most {limit} bytes")
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise BadForm(f"the field {part.field!r} is not UTF-8") from None

    def _described(self, values: dict[str, str], content_type: str | None) -> Description:
        return from_query(
            MultiDict(values), content_type, metadata_max_bytes=self._metadata_max_bytes
        )
