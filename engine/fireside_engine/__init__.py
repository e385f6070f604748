"""The engine: one server process per user, one worker process per loaded model."""

__version__ = "0.1.0"
