"""The store: owns the evidence and everything that was found in it."""
