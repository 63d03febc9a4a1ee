"""Files that tasks read and write, and the providers that bring them where a task can reach them."""
