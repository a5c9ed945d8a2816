"""nginx: as the limit of what a proxy on one core can do, and as a mock node that costs next to nothing."""

import re
import subprocess
from pathlib import Path

from bench.calls import PATH, WHOLE, Call
from bench.peers.base import Nodes, Peer, Unavailable, find_program

HOW_TO_GET_IT = "nginx is not installed: apt-get install nginx-light, or brew install nginx"

GROUND = """
daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; client_max_body_size 32m;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  {servers}
}}
"""

NODE = """
  server {{
    listen 127.0.0.1:{port} backlog=1024; default_type application/json;
    location / {{ return 200 '{answer}'; }}
    location = /v1/models {{ return 200 '{{"object":"list","data":[{{"id":"mock","object":"model"}}]}}'; }}
  }}
"""

PROXY = """
  upstream instant {{ server 127.0.0.1:{instant}; keepalive 64; keepalive_requests 1000000000; }}
  upstream streams {{ server 127.0.0.1:{streams}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 1h;
    location = /health {{ return 200 'ok'; }}
    location / {{ proxy_pass http://instant; }}
    location /streamed/ {{ proxy_buffering off; proxy_pass http://streams/; }}
  }}
"""


def program() -> Path:
    """Raises Unavailable, saying how to install it."""
    found = find_program("nginx", ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"])
    if found is None:
        raise Unavailable(HOW_TO_GET_IT)
    return found


def node_command(folder: Path, port: int) -> list[str | Path]:
    """nginx as the node that answers at once. Raises Unavailable."""
    return _command(folder, NODE.format(port=port, answer=WHOLE))


def _command(folder: Path, servers: str) -> list[str | Path]:
    (folder / "nginx.conf").write_text(GROUND.format(servers=servers))
    return [program(), "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf"]


class Nginx(Peer):
    """A raw proxy with kept connections and no log: it checks nothing and counts nothing."""

    name = "nginx"
    health = "/health"

    @classmethod
    def install(cls) -> str:
        said = subprocess.run([program(), "-v"], capture_output=True, text=True).stderr
        version = re.search(r"nginx/(\S+)", said)
        return version[1] if version else "unknown"

    def prepare(self) -> None:
        program()

    def command(self) -> list[str | Path]:
        return _command(self.folder, self._servers(self.nodes))

    def _servers(self, nodes: Nodes) -> str:
        return PROXY.format(port=self.port, instant=nodes.instant, streams=nodes.streams)

    def call(self, *, streamed: bool) -> Call:
        return Call(port=self.port, path=f"/streamed{PATH}" if streamed else PATH)
