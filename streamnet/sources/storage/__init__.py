"""Where files are: on this machine, and inside of archives."""
