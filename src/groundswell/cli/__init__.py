"""cli: thin verbs over the pipelines."""
