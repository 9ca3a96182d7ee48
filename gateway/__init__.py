"""REST and CSV for people, scripts and SIEMs."""
