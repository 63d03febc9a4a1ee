"""Questions to the monitoring database."""
