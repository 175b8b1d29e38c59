"""Logs, metrics, traces, the audit log, and the operators' HTTP interface."""
