"""The Pulumi program: infrastructure from the one spec, and the provider for what Pulumi's Google provider lacks."""
