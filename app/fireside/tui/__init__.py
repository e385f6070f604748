"""The terminal app. It knows the engine only through `engine.Engine`; conversations leave the process no other way."""
