"""Golden vectors: content stored by one version is found again by the next only if both cut alike.

If these fail after an update of pyfastcdc, keep the old one: the new one would share nothing with
what is stored. The content is BLAKE3's extended output, which no standard library can change.
"""

from itertools import accumulate

import pytest
from blake3 import blake3

from mediastore.content.chunker import Chunker

MIB = 1024 * 1024


def content(size: int) -> bytes:
    return blake3(b"mediastore golden content").digest(length=size)


def cut_ends(data: bytes, sizes: tuple[int, int, int]) -> list[int]:
    chunker = Chunker(*sizes)
    chunker.feed(data)
    return list(accumulate(len(chunk) for chunk in chunker.take() + chunker.flush()))


@pytest.mark.parametrize(
    ("size", "sizes", "ends"),
    [
        (
            8192,
            (64, 256, 1024),
            [
                386,
                599,
                947,
                1200,
                1487,
                1871,
                2146,
                2469,
                2778,
                3213,
                3515,
                3864,
                3928,
                4209,
                4310,
                4676,
                4770,
                5090,
                5444,
                5731,
                5813,
                6091,
                6370,
                6686,
                6967,
                7484,
                7764,
                8070,
                8192,
            ],
        ),
        (
            8192,
            (65, 300, 1025),
            [
                386,
                599,
                947,
                1200,
                1523,
                1871,
                2220,
                2570,
                2765,
                3213,
                3515,
                3864,
                4031,
                4413,
                4843,
                5064,
                5444,
                5836,
                6137,
                6388,
                6814,
                7484,
                7839,
                8118,
                8192,
            ],
        ),
        (
            40 * MIB,
            (1 * MIB, 4 * MIB, 8 * MIB),
            [
                4892245,
                9174752,
                13576635,
                18684609,
                21022266,
                25245736,
                29988975,
                34350700,
                38309713,
                41869171,
                41943040,
            ],
        ),
    ],
    ids=["small", "odd", "default"],
)
def test_noise_is_cut_where_it_always_was(
    size: int, sizes: tuple[int, int, int], ends: list[int]
) -> None:
    assert cut_ends(content(size), sizes) == ends


def test_zeros_are_cut_at_the_maximum() -> None:
    assert cut_ends(bytes(3000), (64, 256, 1024)) == [1024, 2048, 3000]
