"""Which format a client is sent where the URL leaves it open (RFC 9110, 12.5.1).

AVIF and WebP are sent to clients that name them: `image/*` and `*/*` are sent by old browsers that
can show neither. JPEG is what those get.
"""

import re
from collections.abc import Sequence
from typing import Final

from mediastore.image_errors import NotAcceptable
from mediastore.images.formats import AVIF, JPEG, WEBP, Output

ACCEPT_LENGTH_MAX: Final = 4096
_WEIGHT = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)
_PREFERRED: Final = (AVIF, WEBP, JPEG)
_WILDCARDS: Final = ("image/*", "*/*")


def acceptable(lines: Sequence[str]) -> list[Output]:
    """What may be sent, best first: by weight, then as they compress. Raises NotAcceptable."""
    weights = _weights(",".join(lines)[:ACCEPT_LENGTH_MAX])
    if not weights:
        return [JPEG]
    found = [(_weight(output, weights), output) for output in _PREFERRED]
    chosen = [pair for pair in found if pair[0] > 0]
    if not chosen:
        raise NotAcceptable
    return [output for _, output in sorted(chosen, key=lambda pair: -pair[0])]


def _weight(output: Output, weights: dict[str, float]) -> float:
    """The most specific range decides."""
    named = weights.get(output.content_type)
    if named is not None or output is not JPEG:
        return named or 0.0
    return next((weights[name] for name in _WILDCARDS if name in weights), 0.0)


def _weights(header: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for item in header.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        if not name:
            continue
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                # One that is no weight says nothing that could be kept to: the range is left out.
                weight = float(value) if _WEIGHT.fullmatch(value.strip()) else 0.0
        weights[name] = max(weight, weights.get(name, 0.0))
    return weights
