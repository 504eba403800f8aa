"""Goals, threat models, variables, and the attacks."""
