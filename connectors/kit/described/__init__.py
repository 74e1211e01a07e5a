"""Systems that an operator describes in a block: settings, requests, paging, usual paths."""
