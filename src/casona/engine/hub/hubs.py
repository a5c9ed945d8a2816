"""The hubs that models are pulled from, and which of them a name means."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from casona.engine.hub import huggingface, ollama
from casona.engine.hub.huggingface import HuggingFaceHub
from casona.engine.hub.offer import Offer
from casona.engine.hub.ollama import OllamaHub
from casona.engine.hub.reference import Reference
from casona.engine.hub.web import Cancel, Web


@dataclass(frozen=True, slots=True)
class Hubs:
    ollama: OllamaHub
    huggingface: HuggingFaceHub

    def offer(self, reference: Reference, cancel: Cancel) -> Offer:
        """What there is for a name. Blocking; raises what its hub raises."""
        return self._hub(reference).offer(reference, cancel)

    def web(self, reference: Reference) -> Web:
        """How its files are fetched."""
        return self._hub(reference).web

    def _hub(self, reference: Reference) -> OllamaHub | HuggingFaceHub:
        return self.huggingface if reference.hub == "huggingface" else self.ollama


def connect(
    *,
    ollama_url: str = ollama.BASE_URL,
    huggingface_url: str = huggingface.BASE_URL,
    huggingface_token: str = "",
) -> Hubs:
    """The public hubs, or others that speak like them. The token goes to Hugging Face's host alone."""
    host = urlsplit(huggingface_url).netloc
    return Hubs(
        ollama=OllamaHub(Web(), ollama_url),
        huggingface=HuggingFaceHub(Web(token=huggingface_token, token_host=host), huggingface_url),
    )
