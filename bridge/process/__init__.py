"""The process that the bridge runs in: its time, threads, tasks, children, log and imports."""
