"""Reports on use, off by default and sent nowhere but to an endpoint that the user names."""
