"""Where movements come from, and the protocols they are used under."""
