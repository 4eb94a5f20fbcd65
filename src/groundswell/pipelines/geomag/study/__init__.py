"""geomag: the study, families x windows x folds, from fits to a report; everything done is found again on disk."""
