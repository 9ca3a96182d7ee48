"""The authority as a program: enrols hosts with one-time tokens, renews their certificates."""
