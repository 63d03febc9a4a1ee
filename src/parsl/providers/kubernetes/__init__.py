"""Blocks as pods of a Kubernetes cluster."""
