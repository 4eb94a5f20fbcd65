"""train: what is learnt and how: tasks, the loop, checkpoints, imbalance, studies. Uses splits, data, models, core."""
