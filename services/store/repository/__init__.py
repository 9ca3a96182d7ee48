"""What the store asks of MongoDB, in the store's words."""
