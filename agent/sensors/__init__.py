"""Event sources of the kernel."""
