"""The live page over a monitoring database."""
