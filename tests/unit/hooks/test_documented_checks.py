"""The code that docs/hooks.md gives to receivers does what the page says."""

import json
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mediastore.catalog.tenants import new_webhook_secret
from mediastore.clock import SystemClock
from mediastore.hooks.signing import signed_headers

PAGE = (Path(__file__).parents[3] / "docs" / "hooks.md").read_text(encoding="utf-8")
BODY = '{"type":"object.created","data":{"name":"Ferien ☀"}}'.encode()
Check = Callable[[str, dict[str, str], bytes], bool]


def code(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def hold(check: Check) -> None:
    new, old = new_webhook_secret(), new_webhook_secret()
    now = SystemClock().now()
    headers = signed_headers([new, old], "id", now, BODY)
    assert check(new, headers, BODY)
    assert check(old, headers, BODY)
    assert not check(new_webhook_secret(), headers, BODY)
    assert not check(new, headers, BODY + b" ")
    assert not check(new, headers | {"webhook-id": "other"}, BODY)
    assert not check(new, signed_headers([new], "id", now - timedelta(minutes=6), BODY), BODY)
    assert not check(new, signed_headers([new], "id", datetime(2040, 1, 1, tzinfo=UTC), BODY), BODY)


def test_in_python() -> None:
    names: dict[str, Any] = {}
    exec(code("python"), names)
    hold(names["is_genuine"])


@pytest.mark.full
def test_in_node(tmp_path: Path) -> None:
    module = tmp_path / "check.mjs"
    module.write_text(
        code("js")
        + "const [secret, headers, body] = JSON.parse(process.argv[2]);\n"
        + "console.log(isGenuine(secret, headers, Buffer.from(body, 'hex')));\n"
    )

    def check(secret: str, headers: dict[str, str], body: bytes) -> bool:
        said = subprocess.run(
            ["node", str(module), json.dumps([secret, headers, body.hex()])],
            capture_output=True,
            text=True,
            check=True,
        )
        return said.stdout == "true\n"

    hold(check)
