"""One meaning has one text, and nothing but a transform is taken for one."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediastore.image_errors import BadTransform
from mediastore.images.formats import AVIF, GIF, JPEG, OUTPUTS, PNG, WEBP, Output
from mediastore.images.grammar import Named, parse, parse_presets, text
from mediastore.images.transform import BYTES_MAX, BYTES_MIN, Region, Transform

sides = st.integers(1, 8192)
percents = st.integers(0, 100)
sizes = st.one_of(
    st.just({"mode": "orig"}),
    st.fixed_dictionaries(
        {"mode": st.sampled_from(["fill", "pad"]), "width": sides, "height": sides}
    ),
    st.fixed_dictionaries({"mode": st.just("fit"), "width": sides, "height": st.just(0) | sides}),
    st.fixed_dictionaries({"mode": st.just("fit"), "width": st.just(0), "height": sides}),
)
others = st.fixed_dictionaries(
    {},
    optional={
        "crop": st.builds(
            Region,
            st.integers(0, 1 << 20),
            st.integers(0, 1 << 20),
            st.integers(1, 1 << 20),
            st.integers(1, 1 << 20),
        ),
        "focus": st.none() | st.just("auto") | st.tuples(percents, percents),
        "enlarge": st.booleans(),
        "rotate": st.sampled_from([0, 90, 180, 270]),
        "sharpen": st.integers(0, 500),
        "blur": st.integers(0, 100),
        "background": st.none() | st.from_regex(r"[0-9a-f]{6}", fullmatch=True),
        "quality": st.none() | st.integers(1, 100),
        "max_bytes": st.none() | st.integers(BYTES_MIN, BYTES_MAX),
        "still": st.booleans(),
        "copyright": st.booleans(),
    },
)
transforms = st.builds(lambda size, other: Transform(**size, **other), sizes, others)
URL_SAFE = set("abcdefghijklmnopqrstuvwxyz0123456789-._~")


@given(transforms)
def test_what_is_written_is_read_back(transform: Transform) -> None:
    written = text(transform)
    assert parse(written) == transform.normal()
    assert text(parse(written)) == written
    assert set(written) <= URL_SAFE


@given(transforms, st.sampled_from(list(OUTPUTS.values())))
def test_the_canonical_form_in_a_format_is_a_fixed_point(
    transform: Transform, output: Output
) -> None:
    try:
        once = transform.for_output(output)
    except BadTransform:
        return
    assert once.for_output(output) == once
    assert parse(text(once)) == once


@given(transforms, st.randoms())
def test_any_order_means_the_same(transform: Transform, chosen: Random) -> None:
    options = text(transform).split("_")
    chosen.shuffle(options)
    assert parse("_".join(options)) == transform.normal()


@given(st.text(max_size=300) | st.from_regex(r"[a-z]{1,8}-[0-9x.]{0,12}(_[a-z]+)?", fullmatch=True))
def test_anything_else_is_refused_as_such(written: str) -> None:
    try:
        meant = parse(written)
    except BadTransform:
        return
    assert parse(text(meant)) == meant


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("fill-100x100_dpr-2", "fill-200x200"),
        ("dpr-1.5_fit-100x0", "fit-150x0"),
        ("q-75_fill-0300x200", "fill-300x200_q-75"),
        ("fill-300x200_focus-50x50", "fill-300x200"),
        ("fit-300x200_focus-auto", "fit-300x200"),
        ("bg-FFAA00_fit-10x10", "fit-10x10_bg-ffaa00"),
        ("orig_rot-90", "rot-90"),
        ("orig_up", "orig"),
        ("dpr-2", "orig"),
        ("fit-10x10_blur-0_sharpen-0", "fit-10x10"),
        ("dpr-2.0_preset-card", "preset-card_dpr-2"),
        ("preset-card_dpr-1", "preset-card"),
    ],
)
def test_other_ways_to_write_it_have_one_canonical_form(written: str, canonical: str) -> None:
    assert text(parse(written)) == canonical


@pytest.mark.parametrize(
    "written",
    [
        "", "_", "fit", "fit-", "fit-x", "fit-1", "fit-1x2x3", "fit--1x2", "fit-0x0", "fit-9000x1",
        "fill-0x10", "pad-10x0", "fit-10x10_fill-10x10", "orig_fit-10x10", "fit-10x10_fit-10x10",
        "rot-45", "blur-101", "sharpen-501", "q-0", "q-101", "bytes-10", "bg-fff", "focus-101x0",
        "focus-a", "crop-0x0x0x1", "up-1", "dpr-5_fit-10x10", "dpr-0.5_fit-10x10",
        "preset-card_q-10", "preset-card_dpr-1.7", "preset-", "preset-Card", "fit-8000x10_dpr-2",
        "fit-١x1", "q-1e3_fit-1x1", "fit-10x10 ", "FIT-10x10",
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused(written: str) -> None:
    with pytest.raises(BadTransform):
        parse(written)


def test_a_format_drops_what_it_does_not_know() -> None:
    wanted = parse("fit-300x0_q-80_still_copyright")
    assert isinstance(wanted, Transform)
    assert text(wanted.for_output(JPEG)) == "fit-300x0_copyright"
    assert text(wanted.for_output(WEBP)) == "fit-300x0_q-80_still_copyright"
    assert text(wanted.for_output(AVIF)) == "fit-300x0_q-80_copyright"
    assert text(wanted.for_output(PNG)) == "fit-300x0_copyright"
    assert text(wanted.for_output(GIF)) == "fit-300x0_still"


def test_a_size_in_bytes_is_not_promised_where_it_cannot_be_kept() -> None:
    wanted = parse("fit-300x0_bytes-20000")
    assert isinstance(wanted, Transform)
    assert text(wanted.for_output(WEBP)) == "fit-300x0_bytes-20000"
    for output in (PNG, GIF):
        with pytest.raises(BadTransform):
            wanted.for_output(output)


def test_presets_are_checked_when_they_are_given() -> None:
    assert parse_presets({"card": "fill-300x200"}) == {"card": parse("fill-300x200")}
    assert parse("preset-card_dpr-3") == Named("card", 30)
    for bad in ({"Card": "orig"}, {"a_b": "orig"}, {"a": "nothing-1"}, {"a": "preset-b"}):
        with pytest.raises(BadTransform):
            parse_presets(bad)
