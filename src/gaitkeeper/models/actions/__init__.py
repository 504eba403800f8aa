"""Skeleton action recognition networks, one file a family."""
