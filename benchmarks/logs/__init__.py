"""How fast logs are read, parsed and stored."""
