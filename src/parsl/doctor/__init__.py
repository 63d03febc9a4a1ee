"""`parsl-doctor`: looks at a configuration step by step before an allocation is spent on it, then runs a task."""
