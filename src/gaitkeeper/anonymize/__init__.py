"""From a clip to one that hides who walks."""
