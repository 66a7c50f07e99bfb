"""Answers `/media/{tenant}/{blob}/{transform}/{filename.ext}`.

The order: what the URL says (another way to write it is redirected to the one there is), whether
this request may read it (INV-10: by a live object of the source), which format, the variant itself.
Under `auto` every answer varies by Accept, errors and 304 included, and names the URL of what was
chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from aiohttp import hdrs, web

from mediastore.access.policies import Policies
from mediastore.catalog.variants import Variant
from mediastore.delivery.content import Delivery
from mediastore.delivery.granting import Grant, Granting
from mediastore.delivery.headers import HeaderFields
from mediastore.delivery.readable import Derived, Readable
from mediastore.errors import ContentDamaged, ContentMissing, MediastoreError, NotFound
from mediastore.image_errors import BadTransform
from mediastore.images.formats import AVIF, OUTPUTS, SYNONYMS, Output
from mediastore.images.grammar import Named, parse, parse_presets, text
from mediastore.images.image_metrics import ImageMetrics
from mediastore.images.making import Variants, Wanted
from mediastore.images.negotiation import acceptable
from mediastore.images.transform import Transform
from mediastore.problems import answer_error
from mediastore.settings import ImagesSettings

PATH: Final = "/media/{tenant}/{blob}/{transform}/{filename}"
AUTO: Final = "auto"
REDIRECT_SECONDS: Final = 86_400
_VARY: Final = (hdrs.VARY, hdrs.ACCEPT)


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says. `output` is None where it is negotiated."""

    wanted: Transform | Named
    stem: str
    output: Output | None

    def path(self, output: Output | None) -> str:
        """The one URL that means this, as seen from the URL itself."""
        extension = AUTO if output is None else output.extension
        return f"../{self.transform_text(output)}/{quote(self.stem, safe='')}.{extension}"

    def transform_text(self, output: Output | None) -> str:
        """Raises BadTransform for what the format cannot keep to."""
        if isinstance(self.wanted, Named) or output is None:
            return text(self.wanted)
        return text(self.wanted.for_output(output))


def read_address(transform: str, filename: str) -> Address:
    """Raises BadTransform."""
    stem, _, ending = filename.rpartition(".")
    extension = ending.lower()
    extension = SYNONYMS.get(extension, extension)
    if not stem or (extension != AUTO and extension not in OUTPUTS):
        known = ", ".join((*OUTPUTS, AUTO))
        raise BadTransform(f"the file's name ends in one of {known}")
    return Address(parse(transform), stem, OUTPUTS.get(extension))


class Serving:
    """Made once; holds no state of requests."""

    def __init__(
        self,
        variants: Variants,
        delivery: Delivery,
        granting: Granting,
        policies: Policies,
        settings: ImagesSettings,
        presets: Mapping[str, Transform],
        metrics: ImageMetrics,
    ) -> None:
        self._variants = variants
        self._delivery = delivery
        self._granting = granting
        self._policies = policies
        self._settings = settings
        self._presets = presets
        self._metrics = metrics

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a GET or HEAD."""
        filename = request.match_info["filename"]
        negotiated = filename.lower().endswith(f".{AUTO}")
        try:
            response = await self._answer(request, filename)
        except MediastoreError as error:
            response = answer_error(request, error)
        if negotiated and not response.prepared and isinstance(response, web.Response):
            response.headers.add(*_VARY)
        return response

    async def _answer(self, request: web.Request, filename: str) -> web.StreamResponse:
        named = request.match_info
        again = await self._again(request)
        if again is not None:
            return again
        address = read_address(named["transform"], filename)
        canonical = address.transform_text(address.output)
        ending = AUTO if address.output is None else address.output.extension
        if named["transform"] != canonical or filename != f"{address.stem}.{ending}":
            return web.Response(
                status=308,
                headers={
                    hdrs.LOCATION: address.path(address.output),
                    hdrs.CACHE_CONTROL: f"public, max-age={REDIRECT_SECONDS}",
                },
            )
        source, grant = await self._granted(request, address)
        transform = await self._meaning(named["tenant"], address.wanted)
        if address.output is not None:
            wanted = self._wanted(source, transform, address.output)
            (variant,) = await self._variants.find([wanted])
            self._count(found=variant is not None)
            return await self._send(request, address, source, grant, wanted, variant)
        return await self._negotiated(request, address, source, grant, transform)

    async def _again(self, request: web.Request) -> web.StreamResponse | None:
        """What was found out before, and is believed as long as its source; None: find out."""
        tenant = request.match_info["tenant"]
        source = self._delivery.allowed.believed_blob(tenant, request.match_info["blob"])
        known = None if source is None else source.derived(_path(request), request.headers)
        if source is None or known is None:
            return None
        grant = await self._granting.grant(request, tenant, public=source.public, free=known.free)
        try:
            response = await self._delivered(request, known, grant)
        except (ContentMissing, ContentDamaged):
            source.forget_derived()
            return None
        known.count()
        return response

    async def _granted(self, request: web.Request, address: Address) -> tuple[Readable, Grant]:
        """The source, if this request may have pictures of it. Raises NotFound, Unauthorized."""
        named = request.match_info
        tenant = named["tenant"]
        readable = await self._delivery.allowed.blob(tenant, named["blob"])
        grant = await self._granting.grant(
            request,
            tenant,
            public=readable is not None and readable.public,
            free=not isinstance(address.wanted, Named),
        )
        if readable is None:
            raise NotFound
        return readable, grant

    async def _meaning(self, tenant: str, wanted: Transform | Named) -> Transform:
        """Raises BadTransform for a preset that there is not."""
        if isinstance(wanted, Transform):
            return wanted
        own = (await self._policies.tenant(tenant)).policy.image_presets or {}
        if wanted.preset in own:
            preset = parse_presets({wanted.preset: own[wanted.preset]})[wanted.preset]
        elif wanted.preset in self._presets:
            preset = self._presets[wanted.preset]
        else:
            raise BadTransform(f"there is no preset {wanted.preset!r}")
        return preset.scaled(wanted.dpr_tenths)

    async def _negotiated(
        self,
        request: web.Request,
        address: Address,
        source: Readable,
        grant: Grant,
        transform: Transform,
    ) -> web.StreamResponse:
        outputs = acceptable(request.headers.getall(hdrs.ACCEPT, []))
        wanted = [self._wanted(source, transform, output) for output in outputs]
        found = await self._variants.find(wanted)
        self._count(found=found[0] is not None)
        best, provisional = 0, False
        if outputs[0] is AVIF and len(outputs) > 1:
            best, provisional = await self._instead_of_avif(wanted, found)
        if provisional:
            grant = replace(grant, seconds_max=self._settings.provisional_seconds)
        return await self._send(
            request, address, source, grant, wanted[best], found[best], provisional=provisional
        )

    async def _instead_of_avif(
        self, wanted: list[Wanted], found: list[Variant | None]
    ) -> tuple[int, bool]:
        """Which of them to send, and whether only until AVIF is there.

        AVIF takes long, so whoever asks first gets the next best at once and it is made behind.
        Of an animation it would be one frame: the next best it is then, for good. `found` gets what
        had to be made.
        """
        avif = found[0]
        if avif is not None and avif.frames == 1:
            return 0, False
        instead = found[1] or await self._variants.make(wanted[1])
        found[1] = instead
        if avif is not None or instead.frames > 1 or self._variants.refused(wanted[0]) is not None:
            return 1, False
        self._variants.make_behind(wanted[0])
        return 1, True

    async def _send(
        self,
        request: web.Request,
        address: Address,
        source: Readable,
        grant: Grant,
        wanted: Wanted,
        variant: Variant | None,
        *,
        provisional: bool = False,
    ) -> web.StreamResponse:
        """Send a variant, made first if need be; made again if its bytes turn out to be gone."""
        if variant is not None:
            derived = self._derived(address, source, wanted, variant)
            try:
                response = await self._delivered(request, derived, grant)
            except (ContentMissing, ContentDamaged):
                self._variants.forget(wanted)
            else:
                if not provisional:  # the next one is to ask again whether there is a better one
                    source.keep_derived(
                        _path(request), request.headers, derived, varies=address.output is None
                    )
                return response
        variant = await self._variants.make(wanted)
        derived = self._derived(address, source, wanted, variant)
        return await self._delivered(request, derived, grant)

    async def _delivered(
        self, request: web.Request, derived: Derived, grant: Grant
    ) -> web.StreamResponse:
        return await self._delivery.answer(
            request, derived.readable, derived.filename, derived.granted(grant), derived.also
        )

    def _derived(
        self, address: Address, source: Readable, wanted: Wanted, variant: Variant
    ) -> Derived:
        also: HeaderFields = ()
        if address.output is None:
            also = (_VARY, ("Content-Location", address.path(wanted.output)))
        named = isinstance(address.wanted, Named)
        return Derived(
            _readable(source, variant, wanted.output),
            f"{address.stem}.{wanted.output.extension}",
            also,
            free=not named,
            seconds_max=self._settings.preset_seconds if named else None,
            route=PATH,
            count=self._metrics.hits.inc,
        )

    def _wanted(self, source: Readable, transform: Transform, output: Output) -> Wanted:
        meant = transform.for_output(output)
        return Wanted(source.content.tenant, source.blob, source.size, meant, output)

    def _count(self, *, found: bool) -> None:
        (self._metrics.hits if found else self._metrics.misses).inc()


def _path(request: web.Request) -> str:
    """Relative to the source's URL."""
    return f"{request.match_info['transform']}/{request.match_info['filename']}"


def _readable(source: Readable, variant: Variant, output: Output) -> Readable:
    """The variant in the name of its source: whoever may read that, may read this."""
    return Readable.of(
        replace(
            source.content,
            blob=variant.result,
            size=variant.size,
            content_type=output.content_type,
            created_at=variant.created_at,
            digests={},
            source=source.blob,
        )
    )
