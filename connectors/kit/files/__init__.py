"""Files that people and programs export, as if they were the pages of an API."""
