"""The command line; prints and exits nowhere else."""
