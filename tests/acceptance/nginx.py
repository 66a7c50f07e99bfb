"""The nginx of Debian in front of one server, with the settings that a test is about."""

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
