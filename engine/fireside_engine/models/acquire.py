"""Gets a model: from the hub, from another program's folder, or by registering a file. All of `fireside pull`.

Nothing is fetched that is on this machine already, wherever it lies; what is fetched becomes visible as a model only
when every byte of all its parts was compared with the checksum that its repository states, and its header was read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fireside_engine.errors import InvalidRequest, ModelNotFound, NotAModel, WrongBytes
from fireside_engine.models import disk_space, names
from fireside_engine.models.acquire_file import digest_of, fetch
from fireside_engine.models.acquire_progress import Acquired, Progress, Reporter
from fireside_engine.models.acquire_store import Staging
from fireside_engine.models.acquire_target import HubTarget, NameTarget, PathTarget, choose, parse_target
from fireside_engine.models.catalogue import Catalogue
from fireside_engine.models.catalogue_schema import HubSource, Model, PackageSource, PathSource
from fireside_engine.models.gguf import read_header
from fireside_engine.models.hub_file import HubFile, HubModel, Listing, Opener, Reply
from fireside_engine.models.remote_header import Skeleton, skeleton
from fireside_engine.models.user_catalogue import UserCatalogue

POLL = 0.2
"""Seconds between two looks at a download of another process."""


class Source(Opener, Protocol):
    """The hub, as far as a pull needs it."""

    def listing(self, repo: str, revision: str | None = None) -> Listing: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a repository a pull would fetch."""

    listing: Listing
    model: HubModel
    known_as: str
    """Its name in models.toml, where that led here."""
    unconfirmed: str
    """What models.toml says of its source, where that could not be confirmed."""
    staging: Staging
    there: Path | None
    """Where the same bytes are on this machine already, as far as can be told without reading them."""

    @property
    def missing(self) -> int:
        """Bytes that are to be fetched."""
        return 0 if self.there else self.model.size - min(self.staging.done, self.model.size)


class Acquirer:
    """Pulls for one user."""

    def __init__(
        self,
        catalogue: Catalogue,
        user_catalogue: UserCatalogue,
        hub: Callable[[], Source],
        report: Callable[[Progress], None],
    ) -> None:
        """`hub` is called when something is to be asked there, and not before."""
        self._catalogue = catalogue
        self._user = user_catalogue
        self._hub = hub
        self._report = Reporter(report)

    def acquire(self, text: str, *, quant: str = "", check: bool = False) -> Acquired:
        """The model that `text` means, in the quantization `quant` or the usual one.

        With `check`, the checksum of a file that was pulled before is compared again, and a damaged one replaced.
        Raises FiresideErrors: ModelNotFound, AccessDenied, NoConnection, NoSpace, WrongBytes, NotAModel and
        InvalidRequest.
        """
        target = parse_target(text)
        if isinstance(target, PathTarget):
            return self._register(target.path)
        if isinstance(target, NameTarget) and (here := self._without_hub(target.text)):
            return here
        hub = self._hub()
        while True:
            choice = self._choose(hub, target, quant)
            if choice.there and (name := self._same(choice, check=check)):
                return self._present(choice, name)
            choice.staging.require_free()
            with choice.staging.lock() as ours:
                if ours:
                    return self._download(hub, choice, replace=check)
            self._wait(choice)

    def choose(self, text: str, *, quant: str = "") -> Choice:
        """What `acquire` would fetch. Asks the hub, fetches nothing. Raises as `acquire` does."""
        target = parse_target(text)
        if isinstance(target, PathTarget):
            raise InvalidRequest(f"{target.path} is a file of this machine: there is nothing to fetch.")
        return self._choose(self._hub(), target, quant)

    def peek(self, text: str, cache: Path, *, quant: str = "") -> tuple[Choice, Skeleton]:
        """What `acquire` would fetch, and its header. Raises as `acquire` does."""
        choice = self.choose(text, quant=quant)
        return choice, skeleton(self._hub(), choice.listing, choice.model, cache)

    # --- what is meant

    def _choose(self, hub: Source, target: NameTarget | HubTarget, quant: str) -> Choice:
        known: Model | None = None
        known_as = ""
        if isinstance(target, NameTarget):
            found = self._catalogue.known(target.text)
            if found is None:
                self._catalogue.resolve(target.text)  # raises with near names, unless a file is called so
                raise ModelNotFound(f"{names.clean(target.text)} is in no models.toml.", model=target.text)
            known_as, known, named_quant = found
            if not isinstance(known.source, HubSource):
                raise ModelNotFound(f"{known_as} does not come from the hub.", model=known_as)
            target = HubTarget(known.source.repo, quant=named_quant)
        self._report.look(target.repo)
        listing = hub.listing(target.repo, target.revision)
        model = choose(listing, file=target.file, quant=quant or target.quant, known=known)
        staging = Staging(self._catalogue.models_dir, model, listing.repo, listing.commit)
        unconfirmed = (known.evidence or "nothing was looked up") if known and not known.confirmed else ""
        return Choice(listing, model, known_as, unconfirmed, staging, self._somewhere(staging))

    def _without_hub(self, text: str) -> Acquired | None:
        """Models that come another way than from the hub. Raises ModelNotFound when nobody knows the name."""
        known = self._catalogue.known(text)
        if known and isinstance(known[1].source, HubSource):
            return None
        entry = self._catalogue.resolve(known[0] if known else text)
        match known[1].source if known else None:
            case PackageSource(package=package):
                reason = f"It comes with the Python package {package}."
            case PathSource():
                reason = "Your models.toml says where it lies."
            case _:
                reason = "It is on this machine; where it came from is not known."
        quant, licence = str(entry.details.get("quant", "")), known[1].licence if known else ""
        return Acquired(
            entry.name, str(entry.path), entry.size, 0, 0.0, "present", reason, quant=quant, licence=licence
        )

    # --- what is there already

    def _somewhere(self, staging: Staging) -> Path | None:
        """A file of this machine with as many bytes as the wanted model has: nearly always the same one."""
        if staging.is_ours():
            return staging.final
        sizes = [file.size for file in staging.model.files]
        for entry in self._catalogue.list():
            if entry.size == sum(sizes) and [_size(part) for part in _parts(entry.path, len(sizes))] == sizes:
                return entry.path
        return None

    def _same(self, choice: Choice, *, check: bool) -> str:
        """The name of the model that is there, if its bytes are those of the wanted one; "" when they are not."""
        there = choice.there
        if there is None:
            return ""
        if check or not choice.staging.is_ours():
            parts = _parts(there, len(choice.model.files))
            self._report.begin("checking", names.clean(there.name), choice.model.size)
            for part, file in zip(parts, choice.model.files, strict=True):
                if file.digest is None or digest_of(part, file.digest, self._report.hashed) != file.digest.value:
                    return ""
            if there == choice.staging.final:
                choice.staging.adopt()
        return self._name_of(there)

    def _present(self, choice: Choice, name: str) -> Acquired:
        entry = self._catalogue.resolve(name)
        place = "" if choice.staging.final == entry.path else f", in {names.clean(str(entry.path.parent))}"
        return self._acquired(choice, name, entry.path, 0.0, "present", f"The same file is there already{place}.")

    def _name_of(self, path: Path) -> str:
        return next((entry.name for entry in self._catalogue.list() if entry.path == path), "")

    # --- fetching

    def _download(self, hub: Source, choice: Choice, *, replace: bool) -> Acquired:
        staging, model = choice.staging, choice.model
        if staging.is_ours() and not replace:  # another process finished it while we waited
            return self._present(choice, self._name_of(staging.final))
        began = time.monotonic()
        try:
            disk_space.require(self._catalogue.models_dir, choice.missing)
            staging.prepare()
            self._report.begin(
                "downloading", names.clean(model.files[0].name), model.size, min(staging.done, model.size)
            )
            for file in model.files:
                if not staging.is_complete(file):
                    self._fetch(hub, choice, file)
            seconds = time.monotonic() - began
            self._check_header(staging)
            staging.require_free()
            path = staging.publish()
        except OSError as error:
            raise disk_space.in_words(error, staging.final) from error
        except (NotAModel, WrongBytes):
            staging.discard()
            raise
        reason = "Its checksum is the one that the repository states."
        return self._acquired(choice, self._name_of(path), path, seconds, "downloaded", reason)

    def _fetch(self, hub: Source, choice: Choice, file: HubFile) -> None:
        repo, commit = choice.listing.repo, choice.listing.commit

        def open_at(begin: int) -> AbstractContextManager[Reply]:
            return hub.open(repo, commit, file, begin)

        self._report.file(names.clean(file.name))
        fetch(file, choice.staging.incomplete(file), open_at, self._report)
        choice.staging.finish(file)

    def _check_header(self, staging: Staging) -> None:
        """Raises NotAModel."""
        header = read_header(staging.complete(staging.model.files[0]))
        if not header.architecture:
            raise NotAModel(f"{names.clean(staging.final.name)} does not say which architecture its model has.")

    def _wait(self, choice: Choice) -> None:
        """Until the process that fetches the same is done with it, or gone."""
        staging = choice.staging
        self._report.begin(
            "waiting", f"another pull of {names.clean(choice.model.stem)}", choice.model.size, staging.done
        )
        while True:
            time.sleep(POLL)
            with staging.lock() as ours:
                if ours or staging.is_ours():
                    return
            self._report.reach(max(staging.done, 0))

    def _acquired(self, choice: Choice, name: str, path: Path, seconds: float, how: str, reason: str) -> Acquired:
        return Acquired(
            name or choice.model.stem,
            str(path),
            choice.model.size,
            self._report.fetched_bytes,
            round(seconds, 3),
            "downloaded" if how == "downloaded" else "present",
            reason,
            choice.listing.repo,
            choice.model.quant,
            choice.listing.licence,
            choice.unconfirmed,
        )

    # --- files of the user

    def _register(self, path: Path) -> Acquired:
        """Give a file a name for good: it is read where it lies. Raises ModelNotFound, NotAModel."""
        if path.is_dir():
            some = [names.clean(found.name) for found in sorted(path.glob("*.gguf"))[:5]]
            hint = f"Name one of its files: {', '.join(some)}." if some else "There is no .gguf file in it."
            raise InvalidRequest(f"{path} is a folder.", hint=hint)
        entry = self._catalogue.register(path)
        header = read_header(entry.path)
        how, reason = "present", "It lies in the models folder, so it had a name already."
        name = entry.name
        if entry.source == "registered":
            name = self._user.add_path(entry.name, entry.path)
            self._catalogue.refresh()
            how, reason = "registered", f"It stays where it is; {self._user.path} has its name."
        return Acquired(
            name, str(entry.path), entry.size, 0, 0.0, "registered" if how == "registered" else "present", reason,
            quant=header.quant,
        )  # fmt: skip


def _parts(path: Path, count: int) -> tuple[Path, ...]:
    return names.shard_paths(path, count) if count > 1 else (path,)


def _size(path: Path) -> int:
    """-1 when it cannot be told."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
