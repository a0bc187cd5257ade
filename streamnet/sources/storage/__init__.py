"""Where files are: on this machine, in buckets, on web servers, and in archives."""
