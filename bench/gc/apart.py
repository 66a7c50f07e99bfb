"""A part of a measurement in a process of its own: its job on stdin, its result on stdout, as JSON.

What is measured shares neither an event loop nor memory with what measures.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


async def run_apart(
    module: str, job: "DataclassInstance", *arguments: str, seconds_max: float
) -> Any:
    """What `python -m module` makes of a job. Raises SystemExit when it fails, TimeoutError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(
        process.communicate(json.dumps(asdict(job)).encode()), seconds_max
    )
    if process.returncode != 0:
        raise SystemExit(f"{module} ended with status {process.returncode}")
    return json.loads(output)
