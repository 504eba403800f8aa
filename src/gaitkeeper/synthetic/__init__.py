"""People who do not exist: deterministic synthetic walkers."""
