"""The three services of the backend."""
