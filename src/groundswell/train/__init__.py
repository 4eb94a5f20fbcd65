"""train: what is learnt and how: tasks, the loop, checkpoints, imbalance, studies. Stands on splits, data, models, core."""
