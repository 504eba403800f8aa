"""Silhouette gait recognition networks, one file a family."""
