"""`parsl-top`: a run in a terminal."""
