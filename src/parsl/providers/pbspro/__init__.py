"""Blocks as jobs of PBS Pro and OpenPBS."""
