"""fireside's faces: the command line and the terminal app. They know the engine only as a server on this machine."""

from fireside_engine import __version__ as __version__
