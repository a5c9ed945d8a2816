"""Pulling models, and keeping what was pulled: list, show, update, remove.

A pull asks the hub what there is, fetches what is missing, tries the model, and only then writes its
manifest. Whatever stops it before that leaves the old model, or none, and the bytes so far.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from casona.engine.blobs import Blobs
from casona.engine.gguf import BrokenModel, read_model
from casona.engine.hub.download import Download, Patience, check_space
from casona.engine.hub.hubs import Hubs
from casona.engine.hub.offer import Item, Offer
from casona.engine.hub.reference import Reference, parse
from casona.engine.hub.rows import instead
from casona.engine.job import Job
from casona.engine.manifest import BrokenManifest, File, Manifest, Version, names
from casona.engine.shelf import ModelFile, Shelf
from casona.exchange.errors import (
    BadRequest,
    CasonaError,
    Conflict,
    ModelNotFound,
    NoNodeReady,
    OutOfSpace,
)

Trial = Callable[[Path, Path | None], Awaitable[str]]
"""Why the model in this file (with this projector) does not work, or ""."""


class Unusable(BadRequest):
    """The model was fetched and does not work here."""


async def untried(_path: Path, _mmproj: Path | None) -> str:
    """The trial where there is no engine to try it."""
    return ""


class Pulls:
    """Everything is called on one event loop; what blocks runs in threads.

    `memory_bytes` is what models may take, 0 when that is not known: a model whose file alone is larger
    is refused before it is fetched. `unload` is told the names of models about to be removed.
    """

    def __init__(
        self,
        shelf: Shelf,
        hubs: Hubs,
        *,
        trial: Trial = untried,
        unload: Callable[[str], object] = lambda _: None,
        memory_bytes: int = 0,
        patience: Patience | None = None,
    ) -> None:
        self._shelf = shelf
        self._hubs = hubs
        self._trial = trial
        self._unload = unload
        self._memory_bytes = memory_bytes
        self._patience = patience or Patience()
        self._manifests = shelf.manifests
        self._blobs = Blobs(shelf.manifests)
        self._jobs: dict[str, Job] = {}
        self._places: dict[str, asyncio.Lock] = {}

    async def sweep(self) -> None:
        """Remove what earlier pulls left. To be called once, at the start."""
        await asyncio.to_thread(self._blobs.sweep)

    async def stop(self) -> None:
        """End all pulls; each can be taken up again."""
        await asyncio.gather(*(job.stop() for job in list(self._jobs.values())))

    def start(self, name: str) -> Job:
        """Begin to pull, or join the pull of the same model that runs. Raises BadRequest for no name."""
        reference = parse(name)
        self._jobs = {key: job for key, job in self._jobs.items() if not job.done}
        running = self._jobs.get(reference.full)
        if running and not running.cancel.told:
            return running
        job = self._jobs[reference.full] = Job(reference.name)
        job.run(self._pull(reference, job))
        return job

    async def update(self, name: str) -> Job:
        """Pull a pulled model anew; the old version stays until it is removed. Raises ModelNotFound."""
        manifest = await asyncio.to_thread(self._pulled, name)
        return self.start(manifest.name)

    async def list(self) -> tuple[ModelFile, ...]:
        return await asyncio.to_thread(self._shelf.scan)

    async def show(self, name: str) -> tuple[ModelFile, Manifest | None]:
        """A model, and the manifest if it was pulled. Raises ModelNotFound."""
        model = await asyncio.to_thread(self._shelf.find, name)
        if model is None:
            raise ModelNotFound(
                f"there is no model {name!r} here; `casona models list` shows all", param="name"
            )
        return model, await asyncio.to_thread(self._manifest, model)

    async def remove(self, name: str, *, version: str = "") -> int:
        """Remove a model, or one earlier version (by the beginning of its digest). Gives the bytes freed.

        Files that another model shares stay. Raises ModelNotFound, Conflict while it is pulled.
        """
        model, manifest = await self.show(name)
        if manifest and any(not job.done and job.name in names(manifest.name) for job in self._jobs.values()):
            raise Conflict(f"{manifest.name} is being pulled; stop that first")
        if version:
            return await asyncio.to_thread(self._drop_version, model.name, manifest, version)
        self._unload(model.name)
        return await asyncio.to_thread(self._drop, model, manifest)

    # Pulling

    async def _pull(self, reference: Reference, job: Job) -> None:
        source = instead(reference) or reference
        if source is not reference:
            where = f"hf.co/{source.namespace}/{source.model}"
            job.tell(f"{reference.name} does not run in llama.cpp as Ollama packs it; pulling {where}")
        job.tell("pulling manifest")
        offer = await asyncio.to_thread(self._hubs.offer, source, job.cancel)
        old = await asyncio.to_thread(self._manifests.find, reference.name)
        if old and old.current.digest == offer.digest and self._is_whole(offer):
            job.tell("success")
            return
        await asyncio.to_thread(self._check, offer)
        async with self._holding(offer):
            for item in offer.items:
                job.begin(item)
                await asyncio.to_thread(self._fetch, source, item, job)
            await self._try(reference.name, offer, job)
            job.cancel.check()
            job.tell("writing manifest")
            await asyncio.to_thread(self._write, reference, offer, old)
        job.tell("success")

    def _check(self, offer: Offer) -> None:
        """Whether it can fit at all, before gigabytes are fetched. Raises BadRequest, OutOfSpace."""
        if self._memory_bytes and offer.size_bytes > self._memory_bytes:
            raise BadRequest(
                f"this model needs more than {offer.size_bytes / 1e9:.1f} GB of memory, and there are "
                f"{self._memory_bytes / 1e9:.1f} GB for models; `casona pull --recommend` shows what fits",
                param="name",
            )
        missing = self._blobs.missing((item.place, item.size_bytes) for item in offer.items)
        if missing:
            check_space(self._shelf.models_dir, missing)

    def _fetch(self, source: Reference, item: Item, job: Job) -> None:
        download = Download(
            web=self._hubs.web(source),
            models_dir=self._shelf.models_dir,
            cancel=job.cancel,
            patience=self._patience,
        )
        download.fetch(item, lambda completed_bytes: job.progress(item, completed_bytes))

    async def _try(self, name: str, offer: Offer, job: Job) -> None:
        """Raises Unusable when the model does not work; its files go then."""
        job.tell("trying the model")
        paths = [self._shelf.models_dir / item.place for item in offer.items if item.role == "model"]
        mmproj = next((self._shelf.models_dir / i.place for i in offer.items if i.role == "projector"), None)
        try:
            await asyncio.to_thread(read_model, paths)
            reason = await self._trial(paths[0], mmproj)
        except BrokenModel as error:
            reason = str(error)
        except NoNodeReady as error:
            job.tell(f"not tried: {error}")
            return
        if reason:
            await asyncio.to_thread(self._blobs.discard, [item.place for item in offer.items])
            raise Unusable(f"{name} was fetched from {offer.source} and does not work here: it {reason}")

    def _write(self, reference: Reference, offer: Offer, old: Manifest | None) -> None:
        earlier = (old.current, *old.previous) if old else ()
        manifest = Manifest(
            name=old.name if old else reference.name,
            reference=reference.full,
            current=_version(offer),
            previous=tuple(version for version in earlier if version.digest != offer.digest),
        )
        try:
            self._manifests.write(manifest)
        except OSError as error:
            raise OutOfSpace(f"the manifest cannot be written: {error.strerror or error}") from error

    def _is_whole(self, offer: Offer) -> bool:
        return not self._blobs.missing((item.place, item.size_bytes) for item in offer.items)

    @asynccontextmanager
    async def _holding(self, offer: Offer) -> AsyncIterator[None]:
        """Two pulls that share a file fetch it in turn. Locks in one order, so none waits for ever."""
        places = sorted({item.place for item in offer.items})
        taken = []
        try:
            for place in places:
                lock = self._places.setdefault(place, asyncio.Lock())
                await lock.acquire()
                taken.append(lock)
            yield
        finally:
            for lock in taken:
                lock.release()

    # Keeping

    def _manifest(self, model: ModelFile) -> Manifest | None:
        try:
            return None if model.origin == "file" else self._manifests.find(model.name)
        except BrokenManifest as error:
            raise CasonaError(str(error)) from error

    def _pulled(self, name: str) -> Manifest:
        model = self._shelf.find(name)
        if model is None:
            raise ModelNotFound(
                f"there is no model {name!r} here; `casona pull {name}` fetches it", param="name"
            )
        manifest = self._manifest(model)
        if manifest is None:
            raise BadRequest(f"{model.name} is a file of your own: there is nowhere to update it from")
        return manifest

    def _drop(self, model: ModelFile, manifest: Manifest | None) -> int:
        if manifest is None:
            for path in model.files:
                path.unlink(missing_ok=True)
            return model.size_bytes
        places = [file.path for file in manifest.files()]
        self._manifests.remove(manifest)
        return self._blobs.discard(places, held=self._held())

    def _drop_version(self, name: str, manifest: Manifest | None, version: str) -> int:
        wanted = version.removeprefix("sha256:")
        previous = manifest.previous if manifest else ()
        found = [one for one in previous if one.digest.startswith(wanted)]
        if manifest is None or len(found) != 1:
            there = ", ".join(one.digest[:12] for one in previous) or "none"
            raise ModelNotFound(
                f"{name} has no earlier version {version!r}; there is: {there}", param="version"
            )
        kept = tuple(one for one in previous if one is not found[0])
        self._manifests.write(
            Manifest(
                name=manifest.name, reference=manifest.reference, current=manifest.current, previous=kept
            )
        )
        return self._blobs.discard([file.path for file in found[0].files], held=self._held())

    def _held(self) -> set[str]:
        return {place for place, lock in self._places.items() if lock.locked()}


def _version(offer: Offer) -> Version:
    return Version(
        digest=offer.digest,
        files=tuple(
            File(path=item.place, digest=item.digest, size_bytes=item.size_bytes, role=item.role)
            for item in offer.items
        ),
        pulled_at_s=time.time(),
        size_bytes=offer.size_bytes,
        source=offer.source,
        quantisation=offer.quantisation,
        template=offer.template,
        parameters=dict(offer.parameters),
        system=offer.system,
        license=offer.license,
    )
