"""Logs are JSON for programs, carry the request's id, and never hold a secret."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from mediastore.settings import LogSettings
from mediastore.telemetry.logs import HIDDEN, configure_logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_json_object_a_line_with_what_is_bound() -> None:
    stream = io.StringIO()
    configure_logs(LogSettings(), stream)
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger().info("stored", size=3)
    (line,) = lines(stream)
    assert (line["event"], line["size"], line["request_id"]) == ("stored", 3, "r1")


def test_the_level_is_kept() -> None:
    stream = io.StringIO()
    configure_logs(LogSettings(level="warning"), stream)
    structlog.get_logger().info("quiet")
    assert stream.getvalue() == ""


def test_secrets_are_hidden_by_their_names() -> None:
    stream = io.StringIO()
    configure_logs(LogSettings(), stream)
    structlog.get_logger().info("login", Authorization="Bearer x", catalog_dsn="postgresql://a:b@c")
    (line,) = lines(stream)
    assert line["Authorization"] == line["catalog_dsn"] == HIDDEN


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("ours", [True, False])
def test_tracebacks_do_not_show_local_variables(form: str, ours: bool) -> None:
    stream = io.StringIO()
    configure_logs(LogSettings.model_validate({"format": form}), stream)
    try:
        password = "hunter" + "2"
        raise OSError(len(password))
    except OSError:
        if ours:
            structlog.get_logger().exception("failed")
        else:
            logging.getLogger("asyncpg").exception("failed")
    assert "OSError" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
