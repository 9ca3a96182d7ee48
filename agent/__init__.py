"""The agent: watches one host, says who did what, seals and ships it."""
