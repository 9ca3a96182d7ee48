"""`nightherd backup`: the databases as files, and back."""
