"""Losses, samplers and the training loop."""
