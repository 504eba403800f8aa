"""Generators of movements, and the critics that tell theirs from recorded ones."""
