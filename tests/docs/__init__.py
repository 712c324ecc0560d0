"""Commands in the documents do what they say."""
