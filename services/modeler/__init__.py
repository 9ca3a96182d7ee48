"""The modeler: learns what services do, and owns what is normal for them."""
