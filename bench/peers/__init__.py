"""The proxies that are compared: Casona and its peers, each behind one small seam.

A peer is one file and one line in `PEERS`.
"""

from bench.peers.base import Nodes, Peer, Unavailable
from bench.peers.casona import Casona
from bench.peers.litellm import LiteLLM
from bench.peers.nginx import Nginx
from bench.peers.portkey import Portkey

PEERS: tuple[type[Peer], ...] = (Nginx, Casona, Portkey, LiteLLM)

__all__ = ["PEERS", "Nodes", "Peer", "Unavailable"]
