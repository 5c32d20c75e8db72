"""Programs that run the package from a command line."""
