"""Files that people take away: one format a module, one tuple that lists them."""
