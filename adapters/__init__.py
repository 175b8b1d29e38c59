"""The adapters that come with the bridge; each comes through its entry point, as any other."""
