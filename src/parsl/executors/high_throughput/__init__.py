"""The pilot: client, interchange, managers, workers."""
