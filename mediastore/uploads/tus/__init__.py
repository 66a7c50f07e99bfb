"""tus 1.0.0 at /v1/uploads: https://tus.io/protocols/resumable-upload.

`protocol` owns the version, the table of extensions and what every answer carries; `fields` reads
request headers, `answers` writes those of answers; `creation` makes uploads, `resource` is one
upload (HEAD, PATCH, DELETE), `methods` is what the routes call. Docstrings name the headings of the
protocol's page. HEAD and PATCH take the upload over (INV-8): the newest request of a client is the
one that counts, nobody waits for a lock.
"""

from mediastore.uploads.tus.methods import create, delete, head, patch, post
from mediastore.uploads.tus.protocol import OFFSET_TYPE, options

__all__ = ["OFFSET_TYPE", "create", "delete", "head", "options", "patch", "post"]
