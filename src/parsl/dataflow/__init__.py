"""The dataflow kernel and what it is made of: tasks, their states, dependencies, memoization and run folders."""
