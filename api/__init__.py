"""The REST service and its browser page. Nothing here imports torch."""
