"""What is cut: successive releases of PyPI packages as tar files, and edited large binaries."""

import io
import random
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

MIB = 1024 * 1024
WHEELS = Path(__file__).parent.parent / "results" / "wheels"

# Compiled libraries, a mix, and tens of thousands of small text files.
RELEASES = {
    "scipy": ("1.15.1", "1.15.2", "1.15.3"),
    "pandas": ("2.2.1", "2.2.2", "2.2.3"),
    "ansible": ("11.0.0", "11.1.0", "11.2.0"),
}
EDITED_SIZE = 256 * MIB
# One platform and Python for every machine that runs this, so that all of them cut the same bytes.
_WHICH_WHEEL = ("--platform=manylinux2014_x86_64", "--python-version=3.11", "--only-binary=:all:")


def noise(size: int, seed: int) -> bytes:
    """Bytes that repeat nowhere, like compressed media."""
    source = random.Random(seed)
    # randbytes() itself stops below 256 MiB.
    pieces = (source.randbytes(min(MIB, size - start)) for start in range(0, size, MIB))
    return b"".join(pieces)


def release_tars(package: str) -> Iterator[bytes]:
    """The package's releases, oldest first, each unpacked into one tar file."""
    for version in RELEASES[package]:
        yield _tar(_wheel(package, version))


def edits() -> Iterator[tuple[str, Sequence[bytes]]]:
    """Pairs of a large binary before and after an edit, with the edit's description."""
    whole = noise(EDITED_SIZE, 1)
    middle = EDITED_SIZE // 2
    yield (
        "1 KiB overwritten in the middle",
        (
            whole,
            whole[:middle] + noise(1024, 2) + whole[middle + 1024 :],
        ),
    )
    yield (
        "1,000 bytes inserted in the middle",
        (
            whole,
            whole[:middle] + noise(1000, 3) + whole[middle:],
        ),
    )
    yield "100 bytes inserted at the front", (whole, noise(100, 4) + whole)
    step = EDITED_SIZE // 16
    pieces = (noise(100, seed) + whole[seed * step : (seed + 1) * step] for seed in range(16))
    yield "16 insertions, one every 16 MiB", (whole, b"".join(pieces))


def _wheel(package: str, version: str) -> Path:
    """The release's wheel, downloaded once with pip."""
    pattern = f"{package}-{version}-*.whl"
    if not any(WHEELS.glob(pattern)):
        WHEELS.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *_WHICH_WHEEL]
        subprocess.run([*pip, f"--dest={WHEELS}", f"{package}=={version}"], check=True)
    return next(WHEELS.glob(pattern))


def _tar(wheel: Path) -> bytes:
    """The wheel's files by name, with no time or owner: the same bytes wherever it is made."""
    packed = io.BytesIO()
    with zipfile.ZipFile(wheel) as files, tarfile.open(fileobj=packed, mode="w") as tar:
        for name in sorted(name for name in files.namelist() if not name.endswith("/")):
            content = files.read(name)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()
