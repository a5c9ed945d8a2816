"""A place where a model can run: one model on one node."""

from dataclasses import dataclass, field

from casona.exchange.zones import Zone
from casona.nodes.base import Ability, Node, NodeModel

FIRST_REST_S = 1.0
LONGEST_REST_S = 30.0


@dataclass(slots=True)
class NodeState:
    """What the house knows of one node: counts in plain integers, read at need."""

    node: Node
    in_flight: int = 0
    failures: int = 0
    rests_until_s: float = 0.0
    trouble: str = ""
    models: tuple[NodeModel, ...] = ()

    @property
    def name(self) -> str:
        return self.node.name

    def failed(self, trouble: str, now_s: float) -> None:
        """A node that failed rests, twice as long each time, and is asked last meanwhile."""
        self.trouble = trouble
        self.rests_until_s = now_s + min(FIRST_REST_S * 2.0 ** min(self.failures, 10), LONGEST_REST_S)
        self.failures += 1

    def answered(self) -> None:
        if self.failures:
            self.failures = 0
            self.rests_until_s = 0.0
        self.trouble = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`model` is the node's own name; `tier` 0 is served first, each fallback one later.

    `created` is when the model was made, in seconds since 1970, 0 when the node does not say.
    """

    state: NodeState
    model: str
    zone: Zone
    tier: int = 0
    abilities: frozenset[Ability] = frozenset()
    context_tokens: int | None = None
    created: int = 0
    zone_name: bytes = field(default=b"")

    @property
    def node(self) -> Node:
        return self.state.node
