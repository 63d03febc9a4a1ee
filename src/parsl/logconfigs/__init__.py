"""Ways to keep logs, for `Config(initialize_logging=...)`; they reach every process of a run."""
