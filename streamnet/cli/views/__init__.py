"""Views: rich tables, live displays, and plain lines for the commands."""
