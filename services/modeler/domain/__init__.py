"""How learning and the life of a model work; no I/O."""
