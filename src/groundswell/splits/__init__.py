"""splits: who may see what: groups, folds, the manifest and its leakage audit. May use data and core."""
