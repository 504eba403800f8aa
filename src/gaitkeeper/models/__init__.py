"""Recognition networks, and the victims that attacks see."""
