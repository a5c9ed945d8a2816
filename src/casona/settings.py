"""Every setting, once: its name, default, unit and reason. `docs/settings.md` is printed from here.

Reading them from the YAML file and the environment is `configuration.py`'s work.
"""

from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
)

from casona.exchange.zones import Zone

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Alias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}$")]
Seconds = Annotated[float, Field(ge=0, le=86_400 * 365)]
KeepAlive = Annotated[str, Field(pattern=r"^(-1|0|\d+(\.\d+)?(ms|s|m|h)?)$", coerce_numbers_to_str=True)]


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(Group):
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Only this machine by default; `0.0.0.0` opens it to the network.",
    )
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    max_body_bytes: int = Field(
        32 * 2**20,
        ge=1024,
        description="Largest request body in bytes. Fits a long conversation with several images.",
    )
    max_upload_bytes: int = Field(
        512 * 2**20,
        ge=1024,
        description="Largest uploaded document in bytes; uploads go to disk, not memory.",
    )
    cors_origins: tuple[str, ...] = Field(
        (), description="Origins whose pages may call the API from a browser; `*` for all. None by default."
    )
    header_timeout_s: Seconds = Field(
        10.0, description="Seconds for a client to send its request headers, against clients that trickle."
    )
    body_timeout_s: Seconds = Field(
        30.0, description="Seconds without a byte of a request's body before the connection is closed."
    )
    keep_alive_s: Seconds = Field(
        75.0, description="Seconds an idle client connection is kept; longer than most proxies keep theirs."
    )
    stop_timeout_s: Seconds = Field(
        10.0, description="Seconds for running answers to end after a stop was asked for."
    )


class Log(Group):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity written to standard error."
    )
    format: Literal["text", "json"] = Field(
        "text", description="`json` writes one object a line, for machines."
    )


class Timeouts(Group):
    connect_s: Seconds = Field(
        5.0,
        gt=0,
        description="Seconds to open a connection to a node; a node on a LAN answers in milliseconds.",
    )
    first_event_s: Seconds = Field(
        600.0,
        gt=0,
        description="Seconds to wait for a node's first byte. Loading a 70B model and reading a long "
        "prompt take minutes on modest machines.",
    )
    idle_s: Seconds = Field(
        120.0, gt=0, description="Seconds between two pieces of an answer before the node counts as stuck."
    )
    pool_idle_s: Seconds = Field(
        4.0, description="Seconds an unused connection to a node is kept; llama.cpp closes its side after 5."
    )


class NodeKind(StrEnum):
    OPENAI = "openai"
    LLAMACPP = "llamacpp"
    VLLM = "vllm"
    MLX = "mlx"
    LOCALAI = "localai"
    LLAMAFILE = "llamafile"
    OLLAMA = "ollama"


class Node(Group):
    name: Name = Field(description="What the node is called: `model@name` picks it.")
    kind: NodeKind = Field(description="Which API it speaks; all but `ollama` are OpenAI-compatible.")
    url: str = Field(
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        description="Where it listens, e.g. `http://10.0.0.5:11434`.",
    )
    api_key: SecretStr | None = Field(
        None, description="Its key; `${VARIABLE}` or `file:PATH` keep it out of here."
    )
    zone: Zone | None = Field(
        None,
        description="How far data travels to it. Unless told: loopback local, private addresses private, "
        "else cloud.",
    )
    models: tuple[str, ...] = Field(
        (), description="Models to offer from it. All that it lists by default; needed where it has no list."
    )
    verify_tls: bool = Field(True, description="Whether its certificate must be valid.")
    ca_file: str | None = Field(None, description="PEM file of the authority that signed its certificate.")
    context: int | None = Field(
        None,
        ge=256,
        description="Ollama only: the one `num_ctx` for all requests, so that models are not reloaded.",
    )
    timeouts: Timeouts | None = Field(None, description="Its own timeouts, instead of the general ones.")


class Model(Group):
    serve: tuple[str, ...] = Field(
        min_length=1, description="`model@node` that serve this name; the least busy one is taken."
    )
    fallback: tuple[str, ...] = Field(
        (), description="`model@node` tried in this order when none of `serve` can answer."
    )


class Privacy(Group):
    max_zone: Zone = Field(
        Zone.PRIVATE,
        description="The furthest zone that anything may travel to. `cloud` must be said on purpose.",
    )


class Discovery(Group):
    ollama: bool = Field(
        True,
        description="Whether an Ollama server found at 127.0.0.1:11434 at start becomes a node by itself.",
    )
    refresh_s: Seconds = Field(
        30.0, gt=0, description="Seconds between two looks at which models each node has."
    )


class Hubs(Group):
    ollama_url: str = Field(
        "https://registry.ollama.ai",
        pattern=r"^https?://\S+$",
        description="Where models with Ollama's names are pulled from; asked only by a pull.",
    )
    huggingface_url: str = Field(
        "https://huggingface.co",
        pattern=r"^https?://\S+$",
        description="Where models named `hf.co/…` are pulled from; asked only by a pull.",
    )
    huggingface_token: SecretStr | None = Field(
        None, description="Token for gated models, sent to `huggingface_url` alone; `HF_TOKEN` unless set."
    )


class Speculative(Group):
    model: str | None = Field(
        None, description="A small GGUF file of the same family that drafts tokens ahead."
    )
    max_tokens: int = Field(16, ge=1, le=256, description="Tokens drafted at a time.")


class Engine(Group):
    enabled: bool = Field(True, description="Whether Casona runs models itself.")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|metal|cuda|rocm|vulkan|sycl)$",
        description="Where models run. `auto` takes a GPU when the engine at hand can use it.",
    )
    program: str | None = Field(
        None,
        description="A `llama-server` program to run instead of the built-in one, for CUDA, ROCm or Vulkan. "
        "Unless told, one on PATH is taken when a GPU is there that the built-in one cannot use.",
    )
    context: int | None = Field(
        None,
        ge=256,
        description="Context in tokens per request. The model's own by default, capped by memory.",
    )
    parallel: int = Field(
        4, ge=1, le=64, description="Requests one model answers at once; each has its own context."
    )
    memory_bytes: int | None = Field(
        None,
        ge=2**20,
        description="Memory for models. By default what the machine has, less room for the rest.",
    )
    cache_bytes: int = Field(
        256 * 2**20,
        ge=0,
        description="Memory for prompts of earlier requests, kept to be reused. Inside the budget.",
    )
    keep_alive: KeepAlive = Field(
        "5m", description="How long an unused model stays loaded: `5m`, `90s`, `0` not at all, `-1` for ever."
    )
    load_wait_s: Seconds = Field(
        120.0, description="Seconds a request waits for its model to load before it is told to come again."
    )
    evict_wait_s: Seconds = Field(
        30.0, description="Seconds to wait for memory held by busy models before the idlest is drained."
    )
    gpu_layers: int | None = Field(None, ge=0, description="Layers on the GPU. All that fit by default.")
    flash_attention: Literal["auto", "on", "off"] = Field("auto", description="Flash attention.")
    cache_type_k: Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"] = Field(
        "f16", description="Precision of the keys in the KV cache; `q8_0` halves its memory."
    )
    cache_type_v: Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"] = Field(
        "f16", description="Precision of the values in the KV cache; less than f16 needs flash attention."
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads per model. The physical cores by default."
    )
    speculative: Speculative = Speculative()
    lora: tuple[str, ...] = Field(
        (), description="LoRA adapters (GGUF files) applied to every model they fit."
    )
    warm: tuple[str, ...] = Field((), description="Models to load at start.")


class Library(Group):
    store: Literal["lancedb"] = Field("lancedb", description="Where vectors are kept.")
    embedder: str = Field(
        "builtin",
        description="What turns text into vectors: `builtin`, or `model@node`, such as "
        "`embeddinggemma@engine`.",
    )
    passage_chars: int = Field(
        1000, ge=100, le=20_000, description="Most characters in a passage. About 250 tokens: one thought."
    )
    overlap_chars: int = Field(
        150, ge=0, le=10_000, description="Characters neighbouring passages of one section share."
    )
    parse_workers: int = Field(
        2, ge=1, le=64, description="Documents parsed at once, each in a process of its own."
    )
    parse_timeout_s: Seconds = Field(120.0, gt=0, description="Seconds a document may take to parse.")
    parse_memory_bytes: int = Field(
        1024 * 2**20, ge=128 * 2**20, description="Memory a document may take to parse."
    )
    max_pages: int = Field(20_000, ge=1, description="Most pages in a document.")
    num_results: int = Field(4, ge=1, le=50, description="Passages an answer rests on.")
    answer_model: str | None = Field(
        None, description="Model that answers questions about documents. The first that chats by default."
    )
    sleep_after_s: Seconds = Field(
        600.0,
        description="Seconds without use after which the library's process ends and its memory is free.",
    )


class Settings(Group):
    server: Server = Server()
    log: Log = Log()
    nodes: tuple[Node, ...] = Field((), description="Servers that run models, beside the embedded engine.")
    models: dict[Alias, Model] = Field({}, description="Names of our own for models on nodes.")
    privacy: Privacy = Privacy()
    discovery: Discovery = Discovery()
    timeouts: Timeouts = Timeouts()
    engine: Engine = Engine()
    hubs: Hubs = Hubs()
    library: Library = Library()
    database: str = Field(
        "sqlite:///casona.db", description="Where records are kept; a relative path means the home directory."
    )


def as_markdown() -> str:
    """The reference page of all settings, as `docs/settings.md` holds it."""
    head = (
        "# Settings\n\n"
        "`$CASONA_HOME/casona.yaml` (default `~/.casona/casona.yaml`), all of it optional. Each setting can\n"
        "also be given in the environment: `CASONA_SERVER__PORT=9000` is `server.port`. Relative paths\n"
        "mean `$CASONA_HOME`.\n"
        "Printed from `src/casona/settings.py`; `make docs` renews it.\n\n"
        "| setting | type | default | meaning |\n|---|---|---|---|\n"
    )
    return head + "\n".join(_rows(Settings, "")) + "\n"


def _rows(group: type[BaseModel], prefix: str) -> list[str]:
    rows: list[str] = []
    for name, field in group.model_fields.items():
        inner, suffix = _group_inside(field.annotation)
        if not (inner and field.description is None):
            default = "required" if field.is_required() else f"`{_shown(field.default)}`"
            kind = _kind(field.annotation).replace("|", "\\|")
            rows.append(f"| `{prefix}{name}` | {kind} | {default} | {field.description} |")
        if inner and (prefix == "" or inner is not Timeouts):
            rows += _rows(inner, f"{prefix}{name}{suffix}.")
    return rows


def _group_inside(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The settings group an annotation holds, and how a path goes on into it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    suffix = {tuple: "[]", dict: ".NAME"}.get(get_origin(annotation), "")
    for argument in get_args(annotation):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument, suffix
    return None, ""


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), [a for a in get_args(annotation) if a is not Ellipsis]
    if origin is Literal:
        return " | ".join(f"`{value}`" for value in arguments)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return f"map of {_kind(arguments[1])}"
    if origin is UnionType or origin is not None:
        return _kind(next(a for a in arguments if a is not type(None)))
    if issubclass(annotation, StrEnum):
        return " | ".join(f"`{value}`" for value in annotation)
    names = {str: "text", SecretStr: "secret", int: "integer", float: "number", bool: "true or false"}
    return names.get(annotation) or str(annotation.__name__).lower()


def _shown(default: Any) -> str:
    match default:
        case None:
            return "unset"
        case bool():
            return str(default).lower()
        case () | {}:
            return "none"
        case _:
            return f"{default}"
