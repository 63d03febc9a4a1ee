"""Blocks as machines of Google's Compute Engine."""
