"""What the provider's resources are: one module each, a table of properties with its checks, diff and plan. Pure."""
