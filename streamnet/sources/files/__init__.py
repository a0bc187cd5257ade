"""Sources that read files: text formats, columnar formats and folders."""
