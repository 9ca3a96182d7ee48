"""What can be typed, a file for each family; what does the work is imported when it is needed."""
