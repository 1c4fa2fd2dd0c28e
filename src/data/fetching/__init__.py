"""Bringing the bytes of a source to where they are read, and the record of what came."""
