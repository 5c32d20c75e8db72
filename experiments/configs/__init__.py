"""Named settings: one module each, with the command, what it shows, and the result to expect."""
