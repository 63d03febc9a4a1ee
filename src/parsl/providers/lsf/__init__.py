"""Blocks as jobs of LSF."""
