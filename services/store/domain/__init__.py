"""What is true of chains and batches; no I/O."""
