"""The one thread that changes the library. What waits together is written together, in one transaction."""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from casona.exchange.errors import CasonaError, OutOfSpace
from casona.library.holdings import Arriving, Holdings
from casona.library.store.base import StoreFailed

log = logging.getLogger(__name__)

_PASSAGES_TOGETHER = 4000
_PURGE_AFTER_IDLE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Exactly one of `arriving`, `leaving` (ids of documents) and `errand` (anything else) is set."""

    collection: str = ""
    arriving: Arriving | None = None
    leaving: tuple[str, ...] = ()
    errand: Callable[[], Any] | None = None
    done: Future[Any] = field(default_factory=Future)

    @property
    def kind(self) -> tuple[str, str]:
        kind = "arriving" if self.arriving else "leaving" if self.leaving else "errand"
        return kind, self.collection


class Writer:
    """`configured` is the embedder of collections yet to begin."""

    def __init__(self, holdings: Holdings, *, configured: str) -> None:
        self._holdings = holdings
        self._configured = configured
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="library-writer", daemon=True)
        self._thread.start()

    def store(self, collection: str, arriving: Arriving) -> "Future[str]":
        """The document's id, once it is whole and searchable. Raises Overtaken, CasonaError."""
        return self._put(Job(collection=collection, arriving=arriving))

    def remove(self, collection: str, document_ids: Sequence[str]) -> "Future[None]":
        """Done once nothing of the documents is left."""
        return self._put(Job(collection=collection, leaving=tuple(document_ids)))

    def run(self, errand: Callable[[], Any]) -> "Future[Any]":
        """Do something between two changes."""
        return self._put(Job(errand=errand))

    def close(self) -> None:
        """Finish what waits, then end."""
        self._queue.put(None)
        self._thread.join()

    def _put(self, job: Job) -> "Future[Any]":
        self._queue.put(job)
        return job.done

    def _work(self) -> None:
        closing = False
        while not closing:
            try:
                first = self._queue.get(timeout=_PURGE_AFTER_IDLE_S)
            except queue.Empty:
                self._attempt(lambda: self._holdings.settle(purge_all=True))
                continue
            jobs, closing = self._together(first)
            for _, some in groupby(jobs, key=lambda job: job.kind):
                self._do(list(some))
            if self._queue.empty() and not closing:
                self._attempt(self._holdings.settle)
        self._attempt(self._holdings.close)

    def _together(self, first: Job | None) -> tuple[list[Job], bool]:
        """What waits, as far as it fits one transaction, and whether it is the last."""
        jobs: list[Job] = []
        passages = 0
        job = first
        while job is not None:
            jobs.append(job)
            passages += len(job.arriving.rows.terms) if job.arriving and job.arriving.rows else 1
            if passages >= _PASSAGES_TOGETHER or self._queue.empty():
                return jobs, False
            job = self._queue.get()
        return jobs, True

    def _do(self, jobs: Sequence[Job]) -> None:
        """Jobs of one kind and collection. Whatever goes wrong is told to whoever waits."""
        try:
            results = self._results(jobs)
        except Exception as fault:
            if isinstance(fault, StoreFailed):
                fault = CasonaError(f"the library's index cannot be written: {fault}")
            elif not isinstance(fault, CasonaError):
                log.exception("the library could not be changed")
            results = [fault] * len(jobs)
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, Exception):
                job.done.set_exception(result)
            else:
                job.done.set_result(result)

    def _results(self, jobs: Sequence[Job]) -> Sequence[Any]:
        (kind, collection) = jobs[0].kind
        if kind == "arriving":
            arriving = [job.arriving for job in jobs if job.arriving]
            return self._holdings.store(collection, arriving, self._configured)
        if kind == "leaving":
            self._holdings.remove(collection, [id_ for job in jobs for id_ in job.leaving])
            return [None] * len(jobs)
        return [self._run(job) for job in jobs]

    def _run(self, job: Job) -> Any:
        assert job.errand is not None
        try:
            return job.errand()
        except (CasonaError, StoreFailed) as fault:
            return fault

    def _attempt(self, chore: Callable[[], None]) -> None:
        """Chores may fail, on a full disk say: they are tried again after the next change."""
        try:
            chore()
        except OutOfSpace as fault:
            log.warning("the library is not tidied now: %s", fault)
        except Exception:
            log.exception("the library could not be tidied")
