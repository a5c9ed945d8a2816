"""From a model on the shelf to what its child is told."""

import logging
from dataclasses import dataclass
from pathlib import Path

from casona.engine.backend import Backend
from casona.engine.gguf import BrokenModel, Header, read_header
from casona.engine.machine import Machine
from casona.engine.options import Kind, LaunchPlan
from casona.engine.shelf import ModelFile
from casona.engine.sizing import Budget, Sizing, Weights, budget, size
from casona.settings import Engine as EngineSettings

# A processor reads 10 to 200 tokens a second of a 7B model, and no faster in larger batches.
CPU_BATCH_TOKENS = 256
USUAL_BATCH_TOKENS = 2048
BATCH_TOKENS = {"metal": 512, "cpu": 512}
VOCABULARY_DIFFERENCE = 128  # llama.cpp's SPEC_VOCAB_MAX_SIZE_DIFFERENCE
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """Files loaded beside a model that it fits."""

    loras: tuple[Path, ...] = ()
    draft: Path | None = None


class Planner:
    """Knows the settings, the machine and the backend, and plans any model for them."""

    def __init__(self, settings: EngineSettings, machine: Machine, backend: Backend, home_dir: Path) -> None:
        self.machine = machine
        self.backend = backend
        self.budget: Budget = budget(settings, machine, backend)
        self._settings = settings
        self._home_dir = home_dir

    def size(self, file: ModelFile, extras: Extras) -> Sizing:
        """Raises TooBig."""
        assert file.header
        weights = Weights(
            header=file.header,
            file_bytes=_bytes(*file.files),
            mmproj_bytes=_bytes(file.mmproj) if file.mmproj else 0,
            lora_bytes=_bytes(*extras.loras),
            draft=(read_header(extras.draft), _bytes(extras.draft)) if extras.draft else None,
        )
        return size(weights, self._settings, self.budget, on_gpu=bool(self.backend.devices))

    def plan(self, file: ModelFile, sizing: Sizing, extras: Extras) -> LaunchPlan:
        settings = self._settings
        flash = settings.flash_attention
        if flash == "auto" and settings.cache_type_v not in ("f32", "f16", "bf16"):
            flash = "on"  # llama.cpp quantises values only with it
        return LaunchPlan(
            name=file.name,
            model=str(file.path),
            kind=kind_of(file.header),
            context_tokens=sizing.context_tokens,
            parallel=sizing.parallel,
            threads=settings.threads or self.machine.cores,
            gpu_layers=sizing.gpu_layers,
            devices=self._devices(),
            flash_attention=flash,
            cache_type_k=settings.cache_type_k,
            cache_type_v=settings.cache_type_v,
            cache_mib=sizing.cache_bytes // 2**20,
            checkpoints=sizing.checkpoints,
            batch_tokens=self._batch_tokens(file, sizing),
            mmproj=str(file.mmproj or ""),
            loras=tuple(map(str, extras.loras)),
            draft=str(extras.draft or ""),
            draft_tokens=settings.speculative.max_tokens,
        )

    def extras(self, file: ModelFile) -> Extras:
        """The adapters and the draft model of the settings that fit this model, as far as files tell."""
        header, settings = file.header, self._settings
        if header is None or kind_of(header) != "chat":
            return Extras()
        loras = [path for path in map(self._place, settings.lora) if _adapts(path, header)]
        draft = self._place(settings.speculative.model) if settings.speculative.model else None
        return Extras(
            loras=tuple(loras),
            draft=draft if draft and draft not in file.files and _drafts(draft, header) else None,
        )

    def with_settings(self, settings: EngineSettings) -> "Planner":
        return Planner(settings, self.machine, self.backend, self._home_dir)

    def where(self, device: str = "") -> str:
        """`cpu, 8 threads`, or `cuda (NVIDIA H200)`."""
        if not self.backend.devices or device == "cpu":
            return f"cpu, {self._settings.threads or self.machine.cores} threads"
        names = dict.fromkeys(one.description or one.name for one in self.backend.devices)
        return f"{self.backend.name} ({', '.join(names)})"

    def _batch_tokens(self, file: ModelFile, sizing: Sizing) -> int:
        if sizing.gpu_layers or file.mmproj:  # some read an image in one piece
            return BATCH_TOKENS.get(self.backend.name, USUAL_BATCH_TOKENS)
        return CPU_BATCH_TOKENS

    def _devices(self) -> tuple[str, ...]:
        if self.backend.devices:
            return tuple(device.name for device in self.backend.devices)
        return ("none",)

    def _place(self, named: str) -> Path:
        return self._home_dir / Path(named).expanduser()


def kind_of(header: Header | None) -> Kind:
    if header is None or not header.is_embedder:
        return "chat"
    return "rerank" if header.pooling == "rank" else "embed"


def _adapts(path: Path, header: Header) -> bool:
    adapter = _read(path, "engine.lora")
    return adapter is not None and adapter.kind == "adapter" and adapter.architecture == header.architecture


def _drafts(path: Path, header: Header) -> bool:
    draft = _read(path, "engine.speculative.model")
    return (
        draft is not None
        and draft.tokenizer == header.tokenizer
        and abs(draft.vocabulary - header.vocabulary) <= VOCABULARY_DIFFERENCE
    )


def _read(path: Path, setting: str) -> Header | None:
    try:
        return read_header(path)
    except BrokenModel as error:
        _log.warning("%s: %s is not used: it %s", setting, path, error)
        return None


def _bytes(*paths: Path) -> int:
    """Of files that are there; one that went away fails when it is loaded, with a better message."""
    return sum(path.stat().st_size for path in paths if path.exists())
