"""The grid of victims and attacks, its rows, and the report."""
