"""From config.toml and what is installed to the models that answer as `auto`. Reads files: to be called in threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fireside_engine import errors
from fireside_engine.core.routing.roster import Roster, Rule, Tier
from fireside_engine.models.catalogue import Catalogue, Entry
from fireside_engine.models.configuration import AutoSettings, RemoteSettings
from fireside_engine.server.book_file import identity

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Member:
    """A tier and where it is: a model of this machine, or a remote engine."""

    tier: Tier
    entry: Entry | None = None
    remote: RemoteSettings | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """A roster, its members, and how the user wants it used."""

    roster: Roster
    members: tuple[Member, ...]
    settings: AutoSettings
    drafts: bool
    """The cheapest member drafts for the most capable one."""

    @property
    def local(self) -> tuple[int, ...]:
        return tuple(i for i, member in enumerate(self.members) if member.entry is not None)

    @property
    def front(self) -> Entry:
        """The most capable model of this machine: what stands for the roster where one model is meant."""
        found = self.members[self.local[-1]].entry
        assert found is not None  # noqa: S101
        return found

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(Rule(r.tier, r.kind, r.contains, r.longer_than, r.tools) for r in self.settings.rules)


def is_auto(name: str) -> bool:
    return name.strip().casefold().removesuffix(":latest") == AUTO


def resolve(catalogue: Catalogue) -> Resolved:
    """Raises ModelNotFound where there are no two models, InvalidRequest for a roster that names what is not there."""
    configuration = catalogue.configuration()
    settings = configuration.auto
    if settings.roster:
        members = tuple(_named(catalogue, configuration.remotes, name) for name in settings.roster)
        _check(members)
    else:
        members = _pair(catalogue)
    for rule in settings.rules:
        if rule.tier not in ("small", "large") and all(m.tier.name.casefold() != rule.tier.casefold() for m in members):
            raise errors.InvalidRequest(f"config.toml: auto.rules: {rule.tier} is no tier of the roster.")
    first, last = members[0].entry, members[-1].entry
    drafts = first is not None and last is not None and catalogue.draft_for(last) == first.path
    return Resolved(Roster(tuple(member.tier for member in members)), members, settings, drafts)


def _named(catalogue: Catalogue, remotes: dict[str, RemoteSettings], name: str) -> Member:
    if name in remotes:
        remote = remotes[name]
        return Member(Tier(name, f"{remote.url} {remote.model}".strip(), remote=True), remote=remote)
    if is_auto(name):
        raise errors.InvalidRequest("config.toml: auto.roster: auto cannot be a part of itself.")
    try:
        return _member(catalogue.resolve(name))
    except errors.FiresideError as error:
        raise type(error)(f"config.toml: auto.roster: {error.message}", hint=error.hint, **error.details) from error


def _check(members: tuple[Member, ...]) -> None:
    if len(members) < 2:
        raise errors.InvalidRequest("config.toml: auto.roster: a roster has two models or more.")
    if len({member.tier.name for member in members}) < len(members):
        raise errors.InvalidRequest("config.toml: auto.roster: a model stands there twice.")
    if all(member.entry is None for member in members):
        raise errors.InvalidRequest("config.toml: auto.roster: at least one model must be of this machine.")


def _pair(catalogue: Catalogue) -> tuple[Member, ...]:
    for small, large in _sound(catalogue):
        return (_member(small), _member(large))
    raise errors.ModelNotFound(
        "auto needs two models that belong together, and there are none.",
        hint="Fetch a smaller or larger model of the same family, or set auto.roster in config.toml, cheapest first.",
        model=AUTO,
    )


def _sound(catalogue: Catalogue) -> Iterator[tuple[Entry, Entry]]:
    for small, large in catalogue.pairs():
        if small.path != large.path and "embedding" not in (
            *small.details.get("roles", ()),
            *large.details.get("roles", ()),
        ):
            yield small, large


def _member(entry: Entry) -> Member:
    info = entry.path.stat()
    made = identity(entry.path, info.st_size, info.st_mtime_ns)
    return Member(Tier(entry.name, made, n_ctx=entry.details.get("n_ctx_train")), entry)
