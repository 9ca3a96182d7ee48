"""The detector: judges every event against models and policy, records findings in the store."""
