"""SHA-256 of programs that run and of watched files that change, beside the agent's loop."""
