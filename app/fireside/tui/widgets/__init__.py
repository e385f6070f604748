"""Pieces of a screen, each with its look."""
