"""Blocks as the batch jobs that they are: their states, when to ask for more or fewer, when to give up."""
