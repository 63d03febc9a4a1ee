"""Blocks as machines of Amazon's EC2."""
