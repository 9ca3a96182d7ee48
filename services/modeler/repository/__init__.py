"""What the modeler asks of MongoDB, in the modeler's words."""
