"""What parts have measured, kept in bench/results/ so that one section can be made of several."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results"


def keep(name: str, reading: Any) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"gc-{name}.json").write_text(json.dumps(reading, indent=1), encoding="utf-8")


def kept(name: str) -> Any:
    """What was kept under that name; None: it was not measured here."""
    path = RESULTS / f"gc-{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
