"""What the engine knows of `auto`: its roster, its proof, its shadows."""

from __future__ import annotations

from fireside.client import EngineClient
from fireside.proving.arms import Tier
from fireside.wire import EngineFailure, JsonObject

PATH = "/fireside/routing"
TIMEOUT = 30.0


class Routing:
    def __init__(self, client: EngineClient) -> None:
        self.client = client

    def roster(self) -> list[Tier]:
        """From the cheapest tier to the most capable; empty where the engine has no `auto`. Raises EngineFailure."""
        found = self._get(PATH).get("roster") or []
        return [
            Tier(entry, entry) if isinstance(entry, str) else Tier(str(entry["name"]), str(entry["identity"]))
            for entry in found
        ]

    def proof(self) -> JsonObject | None:
        """The proof that the engine goes by. Raises EngineFailure."""
        found = self._get(PATH).get("proof")
        if not isinstance(found, dict):
            return None
        body = found.get("body")
        return body if isinstance(body, dict) else found

    def shadows(self) -> JsonObject:
        """Raises EngineFailure."""
        return self._get(f"{PATH}/shadows")

    def put_proof(self, proof: JsonObject) -> None:
        """Raises EngineFailure."""
        self.client.call("PUT", f"{PATH}/proof", proof, timeout=TIMEOUT)

    def forget_proof(self) -> None:
        """Raises EngineFailure."""
        try:
            self.client.call("DELETE", f"{PATH}/proof", timeout=TIMEOUT)
        except EngineFailure as failure:
            if failure.status != 404:
                raise

    def _get(self, path: str) -> JsonObject:
        try:
            return self.client.get(path, timeout=TIMEOUT)
        except EngineFailure as failure:
            if failure.status == 404:
                return {}
            raise
