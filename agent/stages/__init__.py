"""What happens to events between sensing and shipping."""
