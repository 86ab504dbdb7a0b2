"""What the service remembers: settings, tables, job states, all SQL, blobs. Nothing here imports torch."""
