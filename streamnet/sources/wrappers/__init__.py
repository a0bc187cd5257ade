"""Sources that wrap another source: limit, repeat, shuffle, retry, schema drift."""
