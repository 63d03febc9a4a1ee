"""Blocks on the machine that the user's script runs on."""
