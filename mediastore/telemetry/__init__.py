"""What the operator sees of a running process: logs, metrics, health."""
