"""What can be seen and heard of live calls while somebody looks; nothing is done else."""
