"""The files of an S3 Inventory: what each row says of a key, a bounded part of a file at a time.

CSV writes keys as URLs do, Parquet as they are. Parquet needs pyarrow, an extra of its own: `pip
install mediastore[parquet]`.
"""

import csv
import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from mediastore.collector_errors import CollectorRefused

BATCH_ROWS = 10_000
# Of a column of a row group, read at a time: a group may be hundreds of megabytes.
BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """A key and its size as it is written; an old version or a delete marker is not current."""

    key: str
    size: int | str | None
    is_current: bool


RowsOf = Callable[[Path], Iterator[InventoryRow]]


def reader_of(file_format: str, schema: str) -> RowsOf:
    """Raises CollectorRefused for a format that is not read, ValueError for a schema without what
    is needed.
    """
    if file_format == "CSV":
        columns = [name.strip() for name in schema.split(",")]
        key, size = columns.index("Key"), columns.index("Size")
        return lambda path: _csv_rows(path, columns, key, size)
    if file_format == "Parquet":
        parquet = _require_parquet()
        return lambda path: _parquet_rows(parquet, path)
    raise CollectorRefused(f"an inventory in {file_format} is not read; CSV and Parquet are")


def _csv_rows(path: Path, columns: list[str], key: int, size: int) -> Iterator[InventoryRow]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            if len(row) != len(columns):
                raise CollectorRefused(f"the inventory has a row of {len(row)} columns")
            said = dict(zip(columns, row, strict=True))
            latest = said.get("IsLatest", "true") == "true"
            is_current = latest and said.get("IsDeleteMarker") != "true"
            yield InventoryRow(unquote_plus(row[key]), row[size], is_current)


def _parquet_rows(parquet: Any, path: Path) -> Iterator[InventoryRow]:
    try:
        with parquet.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
            yield from _rows_of_parquet(file)
    except (ValueError, OSError) as error:  # pyarrow's own errors are among these
        raise CollectorRefused(f"the inventory's file {path.name} cannot be read: {error}") from (
            error
        )


def _rows_of_parquet(file: Any) -> Iterator[InventoryRow]:
    named = set(file.schema_arrow.names)
    if not {"key", "size"} <= named:
        raise CollectorRefused("the inventory lacks the columns key and size")
    columns = [name for name in ("key", "size", "is_latest", "is_delete_marker") if name in named]
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
        rows = {name: batch.column(name).to_pylist() for name in columns}
        # Without these columns the inventory is of current versions only.
        latest = rows.get("is_latest", [True] * batch.num_rows)
        markers = rows.get("is_delete_marker", [False] * batch.num_rows)
        for row in zip(rows["key"], rows["size"], latest, markers, strict=True):
            key, size, is_latest, is_marker = row
            text = key.decode() if isinstance(key, bytes) else key
            yield InventoryRow(text, size, is_latest is not False and not is_marker)


def _require_parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise CollectorRefused(
            "an inventory in Parquet needs pyarrow: 'pip install mediastore[parquet]', or have the "
            "inventory made in CSV"
        ) from error
    return parquet
