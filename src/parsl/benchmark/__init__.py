"""Measurements that users can make of their own configurations."""
