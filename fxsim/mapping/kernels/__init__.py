"""Compiled loops of the mapper."""
