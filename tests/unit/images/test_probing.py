"""What is found of a picture: the same however it is held and whatever it is encoded as."""

import pytest
from PIL import Image, ImageCms

from mediastore.image_errors import ImageRefused, ImageTooLarge
from mediastore.images.decoding import prepare
from mediastore.images.formats import SOURCES
from mediastore.images.limits import Limits
from mediastore.images.probed import Probe
from mediastore.images.probing import probe
from tests.pictures import (
    PLACE,
    animation,
    encoded,
    gif_frames,
    heic,
    jpeg,
    photo,
    placed,
    png_claiming,
    turned,
)

LIMITS = Limits()


@pytest.fixture(autouse=True)
def decoders() -> None:
    prepare(SOURCES)


def probed(data: bytes, limits: Limits = LIMITS, *, keep_captured: bool = False) -> Probe:
    found = probe(data, limits, keep_captured=keep_captured)
    assert found is not None
    return found


def taken(moment: str, offset: str | None = None) -> bytes:
    exif = Image.Exif()
    inner = {0x9003: moment} | ({} if offset is None else {0x9011: offset})
    exif[0x8769] = inner
    return encoded(photo(60, 40), exif=exif.tobytes())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_of_the_upright_picture(orientation: int) -> None:
    upright = photo(320, 200)
    expected, found = probed(encoded(upright)), probed(turned(upright, orientation))
    assert (found.width, found.height, found.orientation) == (320, 200, orientation)
    assert (found.phash ^ expected.phash).bit_count() <= 2
    assert found.thumbhash[4:5] == expected.thumbhash[4:5]
    assert found.blurhash[0] == expected.blurhash[0] == "L"  # 4 waves across, 3 down


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_hash_survives_another_encoding_and_size_and_tells_pictures_apart(seed: int) -> None:
    picture = photo(640, 480, seed)
    original = probed(encoded(picture, "PNG")).phash
    others = [
        encoded(picture, quality=40),
        encoded(picture.resize((200, 150)), "WEBP"),
        encoded(picture, "AVIF"),
        heic(picture),
    ]
    for data in others:
        assert (probed(data).phash ^ original).bit_count() <= 6
    assert (probed(encoded(photo(640, 480, seed + 10))).phash ^ original).bit_count() > 16


@pytest.mark.parametrize(("seed", "reference"), [(1, 0xADF12BA8872DA439), (2, 0xF5CBB4C44A3E2E06)])
def test_the_hash_is_the_one_of_the_library_imagehash(seed: int, reference: int) -> None:
    assert probed(encoded(photo(128, 96, seed), "PNG")).phash == reference


def test_frames_are_counted_not_believed() -> None:
    assert probed(jpeg(40, 30)).frames == 1
    for kind in ("GIF", "WEBP", "PNG", "AVIF"):
        assert probed(animation(5, kind)).frames == 5
    assert probed(gif_frames(100_000)).frames == LIMITS.frames_max
    assert probed(gif_frames(150, claimed=3000)).frames == 100_000_000 // 9_000_000


def test_the_dominant_colour_is_of_what_can_be_seen() -> None:
    picture = Image.new("RGBA", (90, 90), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 90, 30))
    assert probed(encoded(picture, "PNG")).dominant_colour == "#0000ff"
    clear = Image.new("RGBA", (9, 9), (255, 0, 0, 0))
    assert probed(encoded(clear, "PNG")).dominant_colour is None


def test_the_colour_profile_is_told_and_applied() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert probed(encoded(photo(60, 40), icc_profile=profile)).colour_profile == "sRGB built-in"
    for none in (b"", b"no profile at all"):
        assert probed(encoded(photo(60, 40), icc_profile=none)).colour_profile is None


@pytest.mark.parametrize(
    ("moment", "offset", "told"),
    [
        ("2026:02:03 04:05:06", None, "2026-02-03T04:05:06"),
        ("2026:02:03 04:05:06", "+01:00", "2026-02-03T04:05:06+01:00"),
        ("2026:02:03 04:05:06", "somewhere", "2026-02-03T04:05:06"),
        ("2026:02:31 04:05:06", None, None),
        ("<script>", "+01:00", None),
    ],
)
def test_when_it_was_taken_is_told_only_if_asked(
    moment: str, offset: str | None, told: str | None
) -> None:
    data = taken(moment, offset)
    assert probed(data, keep_captured=True).captured_at == told
    assert probed(data).captured_at is None


@pytest.mark.parametrize("kind", sorted(set(SOURCES) - {"BMP"}))
def test_nothing_says_where(kind: str) -> None:
    assert PLACE.decode() not in repr(probe(placed(kind), LIMITS, keep_captured=True))


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("L", (1, 1), 7),
        Image.new("1", (5, 300)),
        Image.new("CMYK", (3, 2)),
        Image.new("P", (70, 1)),
        Image.new("I;16", (10, 10), 40_000),
        Image.new("LA", (10, 10)),
    ],
    ids=lambda picture: picture.mode,
)
def test_every_kind_of_pixel(picture: Image.Image) -> None:
    kind = "TIFF" if picture.mode == "CMYK" else "PNG"
    found = probed(encoded(picture, kind))
    assert (found.width, found.height, found.kind) == (*picture.size, kind)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (jpeg()[:9000], ImageRefused),
        (png_claiming(2**31 - 1, 2**31 - 1), ImageTooLarge),
        (png_claiming(5000, 5000), ImageRefused),
    ],
)
def test_what_is_damaged_or_too_large_is_refused(data: bytes, error: type[ImageRefused]) -> None:
    with pytest.raises(ImageRefused) as refused:
        probed(data)
    assert type(refused.value) is error


@pytest.mark.parametrize(
    "data", [b"", b"<svg/>", b"%PDF-1.7", bytes(9000), jpeg()[2:]], ids=lambda data: data[:4].hex()
)
def test_what_no_decoder_knows_is_no_picture(data: bytes) -> None:
    assert probe(data, LIMITS, keep_captured=False) is None


def test_a_format_that_is_not_allowed_is_no_picture() -> None:
    assert probe(jpeg(), Limits(formats=("PNG",)), keep_captured=False) is None
