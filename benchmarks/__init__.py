"""Numbers about Nightherd and its peers, measured on the machine this runs on."""
