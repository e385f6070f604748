"""The ASGI application: which path leads where."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fireside_engine import errors
from fireside_engine.server import responses
from fireside_engine.server.activity import CountRequests
from fireside_engine.server.cache import Cache
from fireside_engine.server.dialects import dialect_routes
from fireside_engine.server.downloads import Downloads
from fireside_engine.server.engine import Engine
from fireside_engine.server.fitting import Fitting
from fireside_engine.server.manage import Management
from fireside_engine.server.model_list import ModelList
from fireside_engine.server.openapi import OpenApi
from fireside_engine.server.removing import Removing
from fireside_engine.server.routing.endpoints import Routing
from fireside_engine.server.security import Access, Gate
from fireside_engine.server.workshop import Workshop


def create_app(engine: Engine, access: Access, stop: Callable[[], None]) -> Starlette:
    """`stop` is called when the owner asks the engine to leave."""
    removing = Removing(engine)
    fitting = Fitting(engine)
    workshop = Workshop(engine)
    management = Management(engine, access.token, stop)
    cache = Cache(engine)
    routing = Routing(engine)
    app = Starlette(
        routes=[
            Route("/", root),
            Route("/health", health),
            Route("/openapi.json", OpenApi().show),
            *dialect_routes(engine),
            Route("/fireside/hello", management.hello),
            Route("/fireside/status", management.status),
            Route("/fireside/register", management.register, methods=["POST"]),
            Route("/fireside/load", management.load, methods=["POST"]),
            Route("/fireside/unload", management.unload, methods=["POST"]),
            Route("/fireside/catalogue", ModelList(engine).known),
            Route("/fireside/downloads", Downloads(engine).list),
            Route("/fireside/remove", removing.remove, methods=["POST"]),
            Route("/fireside/fit", fitting.fit, methods=["POST"]),
            Route("/fireside/quantize", workshop.quantize, methods=["POST"]),
            Route("/fireside/measure", workshop.measure, methods=["POST"]),
            Route("/fireside/show", fitting.show, methods=["POST"]),
            Route("/fireside/machine", fitting.machine),
            Route("/fireside/stop", management.stop, methods=["POST"]),
            Route("/fireside/routing", routing.show),
            Route("/fireside/routing/proof", routing.put_proof, methods=["PUT"]),
            Route("/fireside/routing/proof", routing.forget_proof, methods=["DELETE"]),
            Route("/fireside/routing/why", routing.why),
            Route("/fireside/routing/stats", routing.stats),
            Route("/fireside/routing/trace", routing.forget_trace, methods=["DELETE"]),
            Route("/fireside/routing/shadows", routing.shadows),
            Route("/fireside/cache", cache.show),
            Route("/fireside/cache/clear", cache.clear, methods=["POST"]),
            Route("/fireside/cache/forget", cache.forget, methods=["POST"]),
            Route("/fireside/cache/prune", cache.prune, methods=["POST"]),
            Route("/fireside/cache/verify", cache.verify, methods=["POST"]),
        ],
        middleware=[
            # The gate comes first: what it turns away is no reason for an idle engine to stay.
            Middleware(Gate, access=access, settings=engine.settings),
            Middleware(CountRequests, activity=engine.activity),
        ],
        exception_handlers={
            errors.FiresideError: responses.on_fireside_error,
            404: responses.on_unknown_path,
            405: responses.on_wrong_method,
            Exception: responses.on_defect,
        },
    )
    # A path with a slash too many is unknown, as every other path that is not in the list.
    app.router.redirect_slashes = False
    return app


async def root(_request: Request) -> Response:
    # Clients of Ollama compare these very words.
    return PlainTextResponse("Ollama is running")


async def health(_request: Request) -> Response:
    return responses.json_response({"status": "ok"})
