"""symae: aligning traces of one bag, by correlation and by what a network learnt."""
