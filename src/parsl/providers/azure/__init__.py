"""Blocks as virtual machines of Microsoft Azure."""
