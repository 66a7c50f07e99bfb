"""What comes out is upright, in sRGB, bare of metadata, and as large as was asked for."""

import io

import pytest
from PIL import Image, ImageCms

from mediastore.image_errors import ImageRefused, ImageTooLarge
from mediastore.images.formats import AVIF, GIF, JPEG, OUTPUTS, PNG, WEBP, Output
from mediastore.images.grammar import parse
from mediastore.images.limits import Limits
from mediastore.images.rendering import Rendered, render
from mediastore.images.transform import Transform
from tests.pictures import (
    ARTIST,
    COPYRIGHT,
    animation,
    decoded,
    encoded,
    jpeg,
    photo,
    private,
    ssim,
    turned,
)

LIMITS = Limits()


def rendered(data: bytes, written: str, output: Output = PNG, limits: Limits = LIMITS) -> Rendered:
    transform = parse(written)
    assert isinstance(transform, Transform)
    return render(data, transform, output, limits)


def drawn(data: bytes, written: str, output: Output = PNG) -> Image.Image:
    return decoded(rendered(data, written, output).data)


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    """Red, green, blue, opacity."""
    found = image.convert("RGBA").getpixel((x, y))
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("written", ["fit-150x0", "fill-90x120_focus-20x80", "crop-40x20x200x90"])
def test_every_orientation_comes_out_upright(orientation: int, written: str) -> None:
    upright = photo(320, 200)
    made = drawn(turned(upright, orientation), written)
    assert ssim(made, drawn(encoded(upright), written)) > 0.97


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS.keys())
def test_nothing_of_the_metadata_leaves(output: Output) -> None:
    made = rendered(private(), "fit-100x0", output).data
    opened = decoded(made)
    assert dict(opened.getexif()) == {}
    for secret in (b"Ada", b"comment", b"GPS", b"Exif\0", b"ICC_PROFILE", b"iCCP"):
        assert secret not in made
    png = encoded(photo(90, 90), "PNG", icc_profile=b"", pnginfo=None)
    assert b"tEXt" not in rendered(png, "orig", output).data


@pytest.mark.parametrize("output", [JPEG, WEBP, AVIF, PNG])
def test_the_copyright_stays_if_that_is_asked_for(output: Output) -> None:
    made = decoded(rendered(private(), "fit-100x0_copyright", output).data)
    assert dict(made.getexif()) == {ARTIST: "Ada", COPYRIGHT: "(c) Ada"}
    bare = decoded(rendered(jpeg(), "fit-100x0_copyright", output).data)
    assert dict(bare.getexif()) == {}


def test_colours_are_converted_to_srgb() -> None:
    """A picture in a space of its own looks the same, in other numbers, and names no space."""
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.createProfile("sRGB")
    original = photo(160, 120)
    as_lab = ImageCms.profileToProfile(original, srgb, wide, outputMode="LAB")
    assert as_lab is not None
    tiff = encoded(as_lab, "TIFF", icc_profile=wide.tobytes())
    made = decoded(rendered(tiff, "orig").data)
    assert made.mode == "RGB"
    assert "icc_profile" not in made.info
    assert ssim(made, original) > 0.97


@pytest.mark.parametrize("profile", [b"no profile at all", b"\0" * 200])
def test_a_profile_that_is_none_is_passed_over(profile: bytes) -> None:
    made = drawn(encoded(photo(), icc_profile=profile), "fit-100x0")
    assert ssim(made, drawn(jpeg(), "fit-100x0")) > 0.99


@pytest.mark.parametrize(
    "picture",
    [
        photo(64, 48).convert("CMYK"),
        photo(64, 48).convert("L"),
        photo(64, 48).convert("1"),
        photo(64, 48).convert("P"),
        photo(64, 48).convert("LA"),
        Image.frombytes("I;16", (64, 48), photo(64, 48).convert("L").resize((128, 48)).tobytes()),
    ],
    ids=lambda picture: picture.mode,
)
def test_every_kind_of_pixel(picture: Image.Image) -> None:
    kind = {"CMYK": "JPEG", "I;16": "PNG"}.get(picture.mode, "PNG")
    for output in OUTPUTS.values():
        made = rendered(encoded(picture, kind), "fit-32x0", output)
        assert (made.width, made.height, made.frames) == (32, 24, 1)


def test_sixteen_bits_keep_their_brightness() -> None:
    picture = Image.frombytes("I;16", (32, 32), (0x80FF).to_bytes(2, "little") * 1024)
    made = drawn(encoded(picture, "PNG"), "orig")
    assert made.convert("L").getextrema() == (0x80, 0x80)


def half_clear() -> bytes:
    picture = photo(100, 100).convert("RGBA")
    picture.paste((255, 0, 0, 0), (0, 0, 50, 100))
    return encoded(picture, "PNG")


@pytest.mark.parametrize("output", [WEBP, AVIF, PNG, GIF])
def test_transparency_stays_where_the_format_has_it(output: Output) -> None:
    made = drawn(half_clear(), "fit-50x0", output)
    assert pixel(made, 5, 25)[3] == 0
    assert pixel(made, 45, 25)[3] == 255


def test_transparency_lies_on_white_or_on_the_background() -> None:
    assert min(pixel(drawn(half_clear(), "fit-50x0", JPEG), 5, 25)) > 245
    green = pixel(drawn(half_clear(), "fit-50x0_bg-00ff00", WEBP), 5, 25)
    assert green[1] > 220
    assert max(green[0], green[2]) < 40


def test_clear_pixels_do_not_shine_through_their_borders() -> None:
    made = drawn(half_clear(), "fit-33x0", PNG)
    pixels = made.convert("RGBA").tobytes()
    seen = [pixels[at : at + 4] for at in range(0, len(pixels), 4) if pixels[at + 3] > 8]
    assert [spot for spot in seen if spot[0] > 200 and max(spot[1:3]) < 60] == []


def test_padding() -> None:
    made = drawn(jpeg(100, 50), "pad-100x100_bg-0000ff", PNG)
    assert made.size == (100, 100)
    assert pixel(made, 50, 5) == (0, 0, 255, 255)
    clear = drawn(jpeg(100, 50), "pad-100x100", PNG)
    assert pixel(clear, 50, 5) == (0, 0, 0, 0)
    assert min(pixel(drawn(jpeg(100, 50), "pad-100x100", JPEG), 50, 5)) > 245


def test_turning_blurring_and_sharpening() -> None:
    data = encoded(photo(120, 80), "PNG")
    assert drawn(data, "rot-90").size == (80, 120)
    right = drawn(data, "rot-90").transpose(Image.Transpose.ROTATE_90)
    assert ssim(right, photo(120, 80)) > 0.999
    plain = drawn(data, "orig")
    assert ssim(drawn(data, "blur-4"), plain) < 0.9
    assert 0.5 < ssim(drawn(data, "sharpen-150"), plain) < 0.999


def test_auto_keeps_what_there_is_to_see() -> None:
    picture = Image.new("RGB", (600, 200), (90, 90, 90))
    picture.paste(photo(150, 150), (430, 20))
    made = drawn(encoded(picture, "PNG"), "fill-100x100_focus-auto")
    middle = drawn(encoded(picture, "PNG"), "fill-100x100")
    assert len(set(middle.convert("L").tobytes())) < 5
    assert len(set(made.convert("L").tobytes())) > 60
    tall = picture.transpose(Image.Transpose.ROTATE_270)
    made = drawn(encoded(tall, "PNG"), "fill-100x100_focus-auto")
    assert len(set(made.convert("L").tobytes())) > 60


@pytest.mark.parametrize("output", [JPEG, WEBP, AVIF])
def test_a_size_in_bytes_is_kept(output: Output) -> None:
    free = rendered(jpeg(), "fit-300x0", output).data
    bound = len(free) // 2
    made = rendered(jpeg(), f"fit-300x0_bytes-{bound}", output).data
    assert bound * 0.6 < len(made) <= bound
    assert rendered(jpeg(), f"fit-300x0_bytes-{len(free)}", output).data == free
    with pytest.raises(ImageTooLarge, match="1024 bytes"):
        rendered(jpeg(1200, 900), "fit-1200x0_bytes-1024", output)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
@pytest.mark.parametrize("output", [GIF, WEBP])
def test_animations_stay_animations(kind: str, output: Output) -> None:
    made = rendered(animation(4, kind), "fill-40x40", output)
    opened = decoded(made.data)
    assert made.frames == getattr(opened, "n_frames", 1) == 4
    assert opened.size == (40, 40)
    opened.seek(2)
    opened.load()
    assert opened.info["duration"] == 120


def test_animations_become_still_where_that_is_asked_for_or_all_there_is() -> None:
    made = rendered(animation(4), "fit-40x0_still", WEBP)
    assert getattr(decoded(made.data), "n_frames", 1) == 1
    assert made.frames == 2  # there are more
    assert rendered(animation(4), "fit-40x0", JPEG).frames == 2
    assert rendered(animation(1), "fit-40x0", JPEG).frames == 1


def test_an_animation_past_its_budget_is_refused() -> None:
    with pytest.raises(ImageTooLarge, match="still"):
        rendered(animation(5), "fit-40x0", WEBP, Limits(frames_max=4))
    with pytest.raises(ImageTooLarge, match="still"):
        rendered(animation(5), "fit-40x0", WEBP, Limits(animation_pixels_max=4 * 120 * 80))
    rendered(animation(5), "fit-40x0", WEBP, Limits(frames_max=5))
    rendered(animation(5), "fit-40x0_still", WEBP, Limits(frames_max=4))


def test_limits_of_what_is_made() -> None:
    with pytest.raises(ImageTooLarge):
        rendered(jpeg(40, 30), "fit-4000x3000_up", JPEG, Limits(result_pixels_max=100_000))
    with pytest.raises(ImageTooLarge):
        rendered(jpeg(40, 30), "pad-400x400", JPEG, Limits(result_pixels_max=100_000))
    with pytest.raises(ImageTooLarge):
        rendered(jpeg(400, 300), "orig", PNG, Limits(result_max_bytes=1000))


def test_the_same_again_is_the_same_bytes() -> None:
    for output in OUTPUTS.values():
        assert rendered(jpeg(), "fit-90x0", output) == rendered(jpeg(), "fit-90x0", output)


def test_formats_that_are_not_allowed_are_refused() -> None:
    eps = io.BytesIO()
    photo(20, 20).save(eps, "EPS")
    for data in (eps.getvalue(), b"%PDF-1.4", b"<svg/>", b"", b"hello" * 100):
        with pytest.raises(ImageRefused):
            rendered(data, "orig")
    with pytest.raises(ImageRefused):
        rendered(encoded(photo(20, 20), "TIFF"), "orig", limits=Limits(formats=("JPEG",)))
    with pytest.raises(ImageRefused):
        rendered(encoded(photo(20, 20), "PPM"), "orig", limits=Limits(formats=("PPM",)))
