"""What the provider does to Vertex AI: one driver a resource, on Google's generated clients."""
