"""The name of a variant in the catalog: what was drawn, how it is encoded, and by which version.

Whoever changes what comes out for the same transform raises RENDERING_VERSION: old and new replicas
then run side by side, each with variants of its own, and those that nobody uses any more expire.
"""

from typing import Final

from mediastore.images.formats import Output
from mediastore.images.grammar import text
from mediastore.images.transform import Transform

RENDERING_VERSION: Final = 2


def variant_key(transform: Transform, output: Output) -> str:
    """Raises BadTransform for what this format cannot keep to."""
    return f"{RENDERING_VERSION}/{text(transform.for_output(output))}.{output.extension}"
