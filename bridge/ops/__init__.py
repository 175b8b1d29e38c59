"""What operators see and do: logs, metrics, traces, and the HTTP interface for both."""
