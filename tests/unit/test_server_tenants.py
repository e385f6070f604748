"""Keys and tenants: who is who, and that nobody learns anything by trying."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.server.security import Access, Gate
from fireside_engine.server.settings import Settings
from fireside_engine.server.tenants import OWNER, read_keys, tenant_of

KEYS = read_keys("alpha\nbeta\n")
TENANTS = {key.secret: key.tenant for key in KEYS}


def test_keys_are_one_on_each_line() -> None:
    keys = read_keys("# who may call\n  alpha \n\nbeta\nalpha\n#gamma\n")
    assert [key.secret for key in keys] == ["alpha", "beta"]
    assert read_keys("\n# nobody\n") == ()


def test_a_tenant_is_the_same_tomorrow_and_tells_nothing_of_its_key() -> None:
    assert {key.secret: key.tenant for key in read_keys("beta\nalpha")} == TENANTS
    assert len({*TENANTS.values(), OWNER}) == 3
    assert all(len(tenant) == 32 and tenant.isalnum() for tenant in TENANTS.values())
    assert not any(secret in tenant for secret, tenant in TENANTS.items())


@pytest.mark.parametrize("bad", ["two words", "k" * 513, "schlüssel", "a\x00b", "\n".join(map(str, range(65)))])
def test_what_is_no_key_is_refused_without_being_quoted(bad: str) -> None:
    with pytest.raises(ValueError, match="API key") as caught:
        read_keys(bad)
    assert bad not in str(caught.value)


@given(st.text())
def test_nobody_else_is_anybody(given_key: str) -> None:
    expected = OWNER if given_key == "the-token" else TENANTS.get(given_key)
    assert tenant_of(given_key, KEYS, "the-token") == expected


def _tenant(keys: str, path: str = "/v1/models", **headers: str) -> object:
    """What the application behind the gate sees, or the status that the gate answered with."""
    seen: list[object] = []

    async def app(scope: MutableMapping[str, Any], *_: object) -> None:
        seen.append(scope["fireside.tenant"])

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            seen.append(message["status"])

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    raw = [(b"host", b"localhost:5"), *((k.encode(), v.encode()) for k, v in headers.items())]
    scope = {"type": "http", "method": "GET", "path": path, "headers": raw}
    gate = Gate(app, Access(5, "the-token", keys=read_keys(keys)), Settings())
    asyncio.run(gate(scope, receive, send))
    return seen[0]


def test_the_gate_tells_the_application_whose_request_it_is() -> None:
    both = "alpha\nbeta"
    assert _tenant(both, authorization="Bearer alpha") == TENANTS["alpha"]
    assert _tenant(both, **{"x-api-key": "beta"}) == TENANTS["beta"]
    assert _tenant(both, authorization="Bearer the-token") == OWNER
    assert _tenant(both, authorization="Bearer gamma") == 401
    assert _tenant(both) == 401


def test_without_keys_everybody_is_the_owner_but_only_the_token_manages() -> None:
    """SDKs send some key in any case; on a keyless engine it must not divide what one person's clients share."""
    assert _tenant("", authorization="Bearer sk-anything") == OWNER
    assert _tenant("") == OWNER
    assert _tenant("", "/fireside/status", authorization="Bearer sk-anything") == 401
    assert _tenant("alpha", "/fireside/status", authorization="Bearer alpha") == 401
    assert _tenant("alpha", "/fireside/status", authorization="Bearer the-token") == OWNER
