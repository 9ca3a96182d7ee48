"""The receiving half of the batch protocol, shared by store, modeler and detector."""
