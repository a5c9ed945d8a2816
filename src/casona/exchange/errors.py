"""Everything that can go wrong with a request, and nothing about HTTP bodies.

CasonaError                500
├── BadRequest             400  the caller can repair it; `param` names the field
│   ├── PromptTooLong      400  carries both numbers
│   └── TooLarge           413
├── Unauthorized           401
├── Forbidden              403
├── NotFound               404
│   └── ModelNotFound      404
├── Conflict               409
├── LimitReached           429  carries retry_after_s
├── NodeFailed             502  a node broke its promise
│   ├── NodeRefused        ...  a node's own 4xx, passed on with its status
│   ├── NoNodeReady        503  carries retry_after_s
│   └── NodeTimedOut       504
└── OutOfSpace             507  the disk is full; what was there stays
"""

from typing import ClassVar


class CasonaError(Exception):
    """Base of all errors that a caller may see. `str(error)` is the message they read."""

    status: int = 500
    code: ClassVar[str | None] = None

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class BadRequest(CasonaError):
    status = 400


class PromptTooLong(BadRequest):
    code = "context_length_exceeded"

    def __init__(self, *, prompt_tokens: int, context_tokens: int) -> None:
        super().__init__(
            f"the prompt has {prompt_tokens} tokens and this model's context holds {context_tokens}; "
            "shorten the prompt or raise engine.context",
            param="messages",
        )
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class TooLarge(BadRequest):
    status = 413
    code = "request_too_large"


class Unauthorized(CasonaError):
    status = 401
    code = "invalid_api_key"


class Forbidden(CasonaError):
    status = 403


class NotFound(CasonaError):
    status = 404


class ModelNotFound(NotFound):
    code = "model_not_found"


class Conflict(CasonaError):
    status = 409


class LimitReached(CasonaError):
    status = 429
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NodeFailed(CasonaError):
    """`said` are the node's own words: the caller reads them, but they may quote a prompt.

    So the log and `/health` get the `fact` alone.
    """

    status = 502

    def __init__(self, fact: str, *, said: str = "", param: str | None = None) -> None:
        super().__init__(f"{fact}: {said}" if said else fact, param=param)
        self.fact = fact


class NodeRefused(NodeFailed):
    """The node answered with a 4xx that the caller can act on; its words are the message.

    `body` is what it sent, in its own `dialect`: a client of that dialect gets it as it is.
    `retry_after` is its header of that name.
    """

    def __init__(self, message: str, *, status: int, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.fact = f"refused the request with status {status}"
        self.status = status
        self.body = b""
        self.dialect = ""
        self.retry_after = ""


class NoNodeReady(NodeFailed):
    status = 503

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NodeTimedOut(NodeFailed):
    status = 504


class OutOfSpace(CasonaError):
    status = 507
    code = "insufficient_storage"
