"""The modeler: owns what is normal."""
