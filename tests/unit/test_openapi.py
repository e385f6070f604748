"""The OpenAPI document: it knows every route and nothing else, and its schemas say what bodies may be."""

from __future__ import annotations
