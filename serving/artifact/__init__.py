"""What a model is on disk: a manifest and the files that it names. ``docs/guides/serving.md`` shows the layout."""
