"""Views: what the commands show to a person, as rich tables, live displays or plain lines."""
