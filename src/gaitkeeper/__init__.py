"""Gaitkeeper attacks, hardens and anonymizes human-motion recognition."""

__version__ = "0.1.0"
