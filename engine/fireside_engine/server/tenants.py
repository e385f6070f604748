"""API keys, and whose work is kept apart from whose.

Each key is a tenant: what is kept of its prompts serves nobody else. A tenant is known inside by an opaque name that
is derived from the key and stays the same for as long as the key does. The owner's is empty: the owner's token, and
everybody on an engine without keys.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fireside_engine import errors

OWNER = ""
SCOPE = "fireside.tenant"
"""Where the gate leaves the tenant in the ASGI scope."""

CLIENT = "fireside.client"
"""Where the gate leaves who asks, for turns and shares. Not a matter of trust, as the tenant is."""

MANAGER = "fireside.manager"
"""Where the gate leaves whether the owner's token was shown: only that may change what lies on the disk."""

MOST_KEYS = 64
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class ApiKey:
    secret: str
    tenant: str


def read_keys(text: str) -> tuple[ApiKey, ...]:
    """Keys from a file or a variable: one on each line, `#` begins a comment. The same key twice is one key.

    Raises ValueError, whose words never quote a key.
    """
    lines = (line.strip() for line in text.splitlines())
    secrets = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    for number, secret in enumerate(secrets, 1):
        if len(secret) > _LONGEST or not (secret.isascii() and secret.isprintable()) or " " in secret:
            raise ValueError(f"API key {number} is no key: ASCII without spaces, at most {_LONGEST} characters")
    if len(secrets) > MOST_KEYS:
        raise ValueError(f"{len(secrets)} API keys are more than {MOST_KEYS}")
    return tuple(ApiKey(secret, _tenant(secret)) for secret in secrets)


def tenant_of(given: str, keys: Iterable[ApiKey], token: str) -> str | None:
    """Whose the key of a request is, or None when it is nobody's. Takes as long for every key of the same length."""
    found = OWNER if _same(given, token) else None
    for key in keys:
        if _same(given, key.secret):
            found = key.tenant
    return found


def tenant_in(scope: Mapping[str, Any]) -> str:
    """Whose request this is, as the gate found out. Raises KeyError for a scope that passed no gate."""
    tenant: str = scope[SCOPE]
    return tenant


def client_of(tenant: str, key: str, agent: str) -> str:
    """Who asks, by an opaque name. A tenant is one client; programs of the owner are told apart by what they send."""
    if tenant != OWNER:
        return tenant
    return hashlib.blake2b(f"{key}\n{agent}".encode(), digest_size=8).hexdigest()


def client_in(scope: Mapping[str, Any]) -> str:
    """Who asks, as the gate found out. Raises KeyError for a scope that passed no gate."""
    client: str = scope[CLIENT]
    return client


def require_manager(scope: Mapping[str, Any], what: str) -> None:
    """Raises Forbidden where the owner's token was not shown."""
    if not scope[MANAGER]:
        hint = "Use the command line, or send the token of the runtime directory as the API key."
        raise errors.Forbidden(f"Only the owner may {what}.", hint=hint)


def _tenant(secret: str) -> str:
    # The name stands in files, so finding the key behind it must be dear even where the key is short.
    return hashlib.scrypt(secret.encode(), salt=b"fireside tenant", n=2**12, r=8, p=1, dklen=16).hex()


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())
