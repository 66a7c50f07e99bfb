"""nginx, HAProxy and Envoy in front of one server, each with the settings that a test is about."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.processes import free_port, program, running

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def nginx(folder: Path, upstream_port: int, *directives: str) -> Iterator[int]:
    """The port of an nginx that passes everything on; `directives` are of its location."""
    port = free_port()
    place = folder / "nginx"
    place.mkdir()
    place.chmod(0o755)  # its workers are of another user
    temporary = "".join(f"    {kind}_temp_path {place}/{kind};\n" for kind in _TEMPORARY)
    lines = "".join(f"            {directive};\n" for directive in directives)
    config = place / "nginx.conf"
    config.write_text(f"""\
worker_processes 1;
daemon off;
pid {place}/nginx.pid;
error_log {place}/error.log;
events {{ worker_connections 256; }}
http {{
{temporary}    access_log off;
    client_max_body_size 0;
    upstream mediastore {{ server 127.0.0.1:{upstream_port}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://mediastore;
            proxy_set_header Host $http_host;
{lines}        }}
    }}
}}
""")
    command = [program("nginx"), "-c", str(config), "-e", str(place / "error.log")]
    with running(command, port, place / "nginx.log"):
        yield port


@contextmanager
def haproxy(folder: Path, upstream_port: int) -> Iterator[int]:
    """The port of a HAProxy that passes everything on."""
    port = free_port()
    place = folder / "haproxy"
    place.mkdir()
    config = place / "haproxy.cfg"
    config.write_text(f"""\
global
    maxconn 256
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend public
    bind 127.0.0.1:{port}
    default_backend mediastore
backend mediastore
    server only 127.0.0.1:{upstream_port}
""")
    with running([program("haproxy"), "-db", "-f", str(config)], port, place / "haproxy.log"):
        yield port


@contextmanager
def envoy(folder: Path, upstream_port: int, *, proxies_100: bool) -> Iterator[int]:
    """The port of an Envoy that passes everything on; `proxies_100` is its proxy_100_continue."""
    port = free_port()
    place = folder / "envoy"
    place.mkdir()
    config = place / "envoy.json"
    listener = {
        "address": _address(port),
        "filter_chains": [{"filters": [_http_connections(proxies_100=proxies_100)]}],
    }
    cluster = {
        "name": "mediastore",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "mediastore",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(upstream_port)}}]}],
        },
    }
    static = {"listeners": [listener], "clusters": [cluster]}
    config.write_text(json.dumps({"static_resources": static}))
    command = [program("envoy"), "-c", str(config), "--concurrency", "1", "--log-level", "error"]
    # Without a base id of its own, or with hot restart, two of them on one machine share memory.
    with running([*command, "--disable-hot-restart"], port, place / "envoy.log"):
        yield port


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _http_connections(*, proxies_100: bool) -> dict[str, object]:
    types = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "mediastore", "timeout": "0s"}}
    return {
        "name": "http",
        "typed_config": {
            "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "public",
            "proxy_100_continue": proxies_100,
            "route_config": {
                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]
            },
            "http_filters": [
                {
                    "name": "router",
                    "typed_config": {"@type": f"{types}.http.router.v3.Router"},
                }
            ],
        },
    }
