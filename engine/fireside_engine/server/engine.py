"""The engine of one user: its models, what is in flight, and how it is asked to generate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from fireside_engine import errors
from fireside_engine.core.owner import Owner
from fireside_engine.core.request import Request
from fireside_engine.models.catalogue import Catalogue, Entry, same_tokens
from fireside_engine.server.activity import Activity
from fireside_engine.server.call import Call
from fireside_engine.server.generation import Answering, Generation
from fireside_engine.server.naming import Names, Route
from fireside_engine.server.quarantine import Quarantine, shape_of
from fireside_engine.server.resident import Resident
from fireside_engine.server.routing.routed import RoutedGeneration
from fireside_engine.server.routing.router import Router
from fireside_engine.server.routing.shadow import Shadows
from fireside_engine.server.settings import Settings
from fireside_engine.server.supervisor import Supervisor
from fireside_engine.server.totals import Totals
from fireside_engine.worker.protocol import LoadOptions


class Engine:
    """Belongs to one event loop."""

    def __init__(self, catalogue: Catalogue, settings: Settings) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.supervisor = Supervisor(settings)
        self.names = Names(catalogue, self.supervisor)
        self.activity = Activity()
        self.totals = Totals()
        self.quarantine = Quarantine(settings)
        self.stopping = False
        """The engine is asked to leave: what runs may end, nothing new begins."""
        self._started = time.monotonic()
        self._live: set[Answering] = set()
        self.router = Router(self)
        self.shadows = Shadows(self, self.router.trace)

    @property
    def uptime_s(self) -> float:
        return time.monotonic() - self._started

    def resident(self, entry: Entry, *, deterministic: bool | None = None, draft: str | None = None) -> Resident:
        """`deterministic` and `draft` None leaves it to the settings of the model and of the engine.

        Raises ShuttingDown, ModelNotFound when the file is gone, or InvalidRequest when config.toml is malformed.
        """
        if self.stopping:
            raise errors.ShuttingDown("The engine is stopping.", hint="Try again in a moment.", retry_after=1)
        chosen = self.catalogue.settings_of(entry)
        if deterministic is None:
            deterministic = self.settings.deterministic if chosen.deterministic is None else chosen.deterministic
        return self.supervisor.resident(
            entry,
            LoadOptions(
                n_ctx=chosen.n_ctx,
                n_slots=chosen.n_slots,
                n_threads=chosen.n_threads,
                kv_type=chosen.kv_type,
                deterministic=deterministic,
                cache=chosen.cache is not False,
                cache_budget=self.catalogue.cache_settings().budget,
                draft=self._draft(draft or chosen.draft or self._draft_for_all(entry), entry),
            ),
            partial(self.catalogue.draft_for, entry),
        )

    def _draft_for_all(self, entry: Entry) -> str:
        """What `serve --draft` says, for models of the same tokens; the others choose for themselves."""
        name = self.settings.draft
        if name in ("auto", "off"):
            return name
        return name if same_tokens(self.catalogue.resolve(name), entry) else "auto"

    def _draft(self, name: str, entry: Entry) -> str:
        """The path of a draft model that was named; no model drafts for itself. Raises ModelNotFound."""
        if name in ("auto", "off"):
            return name
        path = self.catalogue.resolve(name).path
        return "off" if path == entry.path else str(path)

    def embedder(self, entry: Entry) -> Resident:
        """The same file, loaded for embeddings. Raises ShuttingDown, ModelNotFound, InvalidRequest."""
        if self.stopping:
            raise errors.ShuttingDown("The engine is stopping.", hint="Try again in a moment.", retry_after=1)
        chosen = self.catalogue.settings_of(entry)
        return self.supervisor.resident(
            entry, LoadOptions(n_threads=chosen.n_threads, embedding=True, cache=False, draft="off")
        )

    def generate(
        self,
        entry: Entry,
        requests: Sequence[Request],
        *,
        tenant: str,
        client: str = "",
        deterministic: bool | None = None,
        draft: str | None = None,
        keep_alive: float | None = None,
    ) -> Generation:
        """To be entered with `async with`. tenant: whose prompts these are; nobody else's share KV with them.
        client: who asks; each gets its turn.

        Raises as `resident`, and InvalidRequest for a request that its process did not survive several times.
        """
        for request in requests:
            if (seconds := self.quarantine.left(shape_of(request), time.monotonic())) > 0:
                message = f"The process of {entry.name} died each time it answered this very request."
                raise errors.InvalidRequest(message, hint=f"It is tried again in {max(1, round(seconds))} s.")
        resident = self.resident(entry, deterministic=deterministic, draft=draft)
        requests = [replace(request, tenant=tenant, client=client) for request in requests]
        return Generation(resident, requests, client, keep_alive=keep_alive, settings=self.settings, live=self._live)

    def answer(self, route: Route, call: Call, tenant: str, client: str) -> Answering:
        """What a call asks of a name, of one model or of several. To be entered with `async with`. Raises as
        `generate`."""
        if route.auto is not None:
            if self.stopping:
                raise errors.ShuttingDown("The engine is stopping.", hint="Try again in a moment.", retry_after=1)
            return RoutedGeneration(self.router, route.auto, call, tenant, client)
        return self.generate(
            route.entry,
            call.requests,
            tenant=tenant,
            client=client,
            deterministic=call.deterministic,
            draft=call.draft,
            keep_alive=call.keep_alive,
        )

    def live(self, generation: Answering) -> None:
        """It runs, and is ended with the engine."""
        self._live.add(generation)

    def gone(self, generation: Answering) -> None:
        self._live.discard(generation)

    def forget(self, owner: Owner | None, *, drop: bool) -> None:
        """KV was deleted from disk: tell the loaded models. `drop`: what they have of it in memory goes too."""
        for resident in self.supervisor.residents:
            if resident.handle is not None:
                resident.handle.forget(owner, drop=drop)

    def abort_all(self) -> None:
        """End every answer in flight with a final error."""
        for generation in tuple(self._live):
            generation.abort(errors.ShuttingDown("The engine was stopped before the answer was complete."))
