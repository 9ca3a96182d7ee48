"""What is true of learning and of models; no I/O, no clock."""
