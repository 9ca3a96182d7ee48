"""The shared kernel of modeler and detector: from events to behaviours, and what a model allows.

Pure: no I/O beyond reading the packaged capabilities once, no clock, no log.
"""
