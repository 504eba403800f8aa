"""How movements, identities and attacks are measured."""
