"""Makes the reference pages from the code: errors, settings, metrics, the command lines.

python docs/generate.py           writes them
python docs/generate.py --check   exits 1 when a page is not what the code says
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mediastore_gc.cli
from mediastore_gc.collection_metrics import CollectionMetrics
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel, SecretStr
from typer import Typer
from typer.testing import CliRunner

import mediastore.cli
from mediastore.chunkstore.measured import ChunkStoreMetrics
from mediastore.delivery.disk_cache import DiskCacheMetrics
from mediastore.errors import every_error
from mediastore.events.cdn.purge_metrics import PurgeMetrics
from mediastore.images.image_metrics import ImageMetrics
from mediastore.images.probe_metrics import ProbeMetrics
from mediastore.settings import Settings
from mediastore.telemetry.metrics import Metrics
from mediastore.workers.supervisor import SupervisorMetrics

DOCS = Path(__file__).parent
NOTICE = "<!-- Made by `make docs` from the code: change it there. -->\n"
HELP_COLUMNS = "80"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    rows = [
        (f"`{kind.code}`", str(kind.status), str(kind.exit_code), _retry(kind), kind.message())
        for kind in every_error()
    ]
    return (
        f"{NOTICE}\n# Errors\n\n"
        "Over HTTP an error is `application/problem+json` (RFC 9457) with a `code` that never "
        "changes its meaning. On the command line it is one line on standard error and an exit "
        "code.\n\n" + table(("code", "HTTP status", "exit code", "Retry-After", "meaning"), rows)
    )


def _retry(kind: Any) -> str:
    return "" if kind.retry_after_seconds is None else f"{kind.retry_after_seconds} s"


def settings_page() -> str:
    head = (
        f"{NOTICE}\n# Settings\n\n"
        "Precedence: command-line flags, environment, the TOML file that `--config` names, the "
        "defaults here. In the file a setting is `name` under `[section]`; in the environment it "
        "is `MEDIASTORE_SECTION__NAME`. Unknown names are refused. Sizes are bytes, times are "
        "seconds.\n"
    )
    parts = [head]
    for section, group in Settings.model_fields.items():
        model = group.annotation
        if not (inspect.isclass(model) and issubclass(model, BaseModel)):
            raise TypeError(f"{section} is not a section")
        rows = [
            (f"`{name}`", f"`{_default(field.default)}`", field.description or "")
            for name, field in model.model_fields.items()
        ]
        about = inspect.getdoc(model) or ""
        values = table(("name", "default", "meaning"), rows)
        parts.append(f"\n## {section}\n\n{about}\n\n{values}")
    return "".join(parts)


def _default(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def metrics_page() -> str:
    service, collector = CollectorRegistry(), CollectorRegistry()
    Metrics.create(service)
    ChunkStoreMetrics(service)
    ImageMetrics(service)
    ProbeMetrics(service)
    PurgeMetrics(service, [])
    DiskCacheMetrics(service)
    SupervisorMetrics(service)
    CollectionMetrics(collector)
    head = ("name", "type", "labels", "meaning")
    return (
        f"{NOTICE}\n# Metrics\n\n"
        "Label values are few and fixed: no tenant, no key, no path.\n\n"
        "## The service\n\n"
        "Prometheus text at `/metrics` on a port of its own (`http.metrics_port`).\n\n"
        + table(head, sorted(_metric_rows(service)))
        + "\n## The collector\n\n"
        "Prometheus text on the port that `mediastore-gc run --metrics-port` names, at "
        "`--metrics-host` or else `http.metrics_host`, beside the `mediastore_chunk_store_` "
        "metrics above.\n\n" + table(head, sorted(_metric_rows(collector)))
    )


def _metric_rows(registry: CollectorRegistry) -> Iterator[tuple[str, ...]]:
    labels: dict[str, tuple[str, ...]] = {
        collector._name: collector._labelnames
        for collector in list(registry._collector_to_names)
        if isinstance(collector, MetricWrapperBase)
    }
    for metric in registry.collect():
        name = metric.name + ("_total" if metric.type == "counter" else "")
        # A family that a collector of our own makes knows its labels itself.
        names: Iterable[str] = labels.get(metric.name) or getattr(metric, "_labelnames", ()) or ()
        named = ", ".join(f"`{label}`" for label in names)
        yield f"`{name}`", metric.type, named, metric.documentation


def cli_page() -> str:
    parts = [f"{NOTICE}\n# Command lines\n\nExit codes are in [errors](errors.md).\n"]
    for program, app in (
        ("mediastore", mediastore.cli.app),
        ("mediastore-gc", mediastore_gc.cli.app),
    ):
        parts += _help(program, app, [])
    return "".join(parts)


def _help(program: str, app: Typer, command: list[str]) -> Iterator[str]:
    """The help of one command and of those below it."""
    asked = CliRunner().invoke(
        app,
        [*command, "--help"],
        prog_name=program,
        env={"COLUMNS": HELP_COLUMNS, "TERM": "dumb", "NO_COLOR": "1"},
        catch_exceptions=False,
    )
    name = " ".join([program, *command])
    if asked.exit_code != 0:
        raise RuntimeError(f"{name} --help ended with {asked.exit_code}: {asked.output}")
    yield f"\n## {name}\n\n```text\n{asked.stdout.rstrip()}\n```\n"
    _, _, commands = asked.stdout.partition("\nCommands:\n")
    listed, _, _ = commands.partition("\n\n")
    for line in listed.splitlines():
        if line.startswith("  ") and not line.startswith("   "):
            yield from _help(program, app, [*command, line.split()[0]])


PAGES: Mapping[str, Callable[[], str]] = {
    "errors.md": errors_page,
    "settings.md": settings_page,
    "metrics.md": metrics_page,
    "cli.md": cli_page,
}


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    stale = []
    for name, make in PAGES.items():
        page, text = DOCS / name, make()
        if page.exists() and page.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            page.write_text(text, encoding="utf-8")
    if check and stale:
        print(f"docs: {', '.join(stale)} not as the code says; run 'make docs'", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
