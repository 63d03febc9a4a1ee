"""`parsl-report`: a finished run in one file, to keep beside a paper."""
