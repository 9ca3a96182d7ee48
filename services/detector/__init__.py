"""The detector: judges every event."""
